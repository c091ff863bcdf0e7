"""What a site keeps of its settings from start to start."""

import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeferry.__main__ import main
from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings, LogUnavailable, Stop, StoreUnavailable
from edgeferry.runtime.settings import MqttSettings, Settings, load_settings
from edgeferry.tools.alone import AloneOptions, AloneSite
from edgeferry.tools.demonstration import Plan, prepare
from edgeferry.tools.move_plan import Plan as MovePlan
from edgeferry.tools.move_plan import check_not_moved
from edgeferry.tools.opened import servers_must_answer
from edgeferry.tools.settings_file import before_path, write_settings
from edgeferry.tools.shape import HERE, Role, SiteShape, kept_settings, shape_of

PORTS = {"cloud-http": 1, "cloud-mqtt": 2, "sync": 3, "edge-http": 4, "edge-mqtt": 5}
CHAINS = {"cloud": "cloud_root", "edge": "edge_root"}
EMBEDDED: dict[Role, SiteShape] = {"cloud": SiteShape(), "edge": SiteShape()}


def alone(data: Path, host: str | None = None) -> AloneSite:
    nothing = dict.fromkeys(("chain", "log", "store", "kafka", "cassandra"))
    options = AloneOptions(data=data, host=host, http=None, mqtt=None, **nothing)
    return AloneSite("cloud", options)


def started(data: Path, host: str | None = None) -> Path:
    site = alone(data, host)
    site.write(site.settings())
    return site.file


def up_writes(data: Path, plan: Plan) -> None:
    prepare(data, plan, SystemClock()).write(data)


def test_what_its_owner_changes_stays_with_all_comments(tmp_path: Path) -> None:
    file = started(tmp_path)
    assert "tls" not in file.read_text()
    mine = file.read_text() + "# the proxy is on this machine\napi: {read_token: open-sesame}\n"
    file.write_text(mine)
    assert started(tmp_path).read_text() == mine


def test_an_option_changes_its_setting_and_nothing_else(tmp_path: Path) -> None:
    file = started(tmp_path)
    mine = f"{file.read_text()}# mine\napi: {{read_token: open-sesame}}\nlog_level: ERROR\n"
    file.write_text(mine)
    before = load_settings(file, environ={})
    started(tmp_path, host="0.0.0.0")
    after = load_settings(file, environ={})
    assert after.http.host == after.mqtt.host == "0.0.0.0"
    assert after.api.read_token.get_secret_value() == "open-sesame"
    assert (after.log_level, after.api, after.sync) == ("ERROR", before.api, before.sync)
    assert before_path(file).read_text() == mine
    assert before_path(file).name in file.read_text()
    started(tmp_path, host="127.0.0.1")
    assert before_path(file).read_text() == mine  # not lost at the second change
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_broker_of_mqtt_stays_as_its_owner_has_set_it(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    file = started(tmp_path)
    mqtt = "mqtt: {port: 1999, connections: 7, tls: {port: 8999, cert: c.pem, key: k.pem}}\n"
    file.write_text(f"role: cloud\nsite: cloud\ndata: {tmp_path}\n{mqtt}")
    started(tmp_path, host="0.0.0.0")
    kept = load_settings(file, environ={}).mqtt
    assert (kept.port, kept.connections, kept.tls.port) == (1999, 7, 8999)
    assert kept.tls.cert == file.parent / "c.pem"
    assert not recwarn.list


def test_up_keeps_what_it_has_no_say_in(tmp_path: Path) -> None:
    plan = Plan(PORTS, CHAINS, EMBEDDED, {}, 1)
    up_writes(tmp_path, plan)
    file = tmp_path / "edge" / "settings.yaml"
    first = load_settings(file, environ={})
    changed = first.model_copy(update={"log_level": "ERROR"})
    outbox = "sync:\n  outbox: {telemetry: {max_events: 50}}\n"
    write_settings(file, changed, "changed")
    file.write_text(file.read_text().replace("sync:\n", outbox, 1))
    up_writes(tmp_path, Plan({**PORTS, "edge-http": 44}, CHAINS, EMBEDDED, {}, 1))
    after = load_settings(file, environ={})
    assert (after.log_level, after.sync.outbox.telemetry.max_events) == ("ERROR", 50)
    assert (after.http.port, after.sync.edge_key) == (44, first.sync.edge_key)
    assert after.sync.address == "127.0.0.1:3"


def test_the_file_of_a_site_says_where_it_is_from_its_own_place_on(tmp_path: Path) -> None:
    file = started(tmp_path / "first")
    settings = load_settings(file, environ={})
    tls = file.parent.parent / "tls" / "cloud.pem"
    sync = settings.sync.model_copy(update={"cert_file": tls, "edges_file": Path("/etc/edges")})
    chain = str(file.parent / "mine.yaml")
    write_settings(file, settings.model_copy(update={"sync": sync, "root_chain": chain}), "")
    assert str(tmp_path) not in file.read_text()
    copy = tmp_path / "second" / "elsewhere" / "cloud"
    shutil.copytree(file.parent, copy)
    copied = load_settings(copy / file.name, environ={})
    assert (copied.data, copied.devices_file) == (copy, copy / "devices.json")
    assert copied.sync.cert_file == copy.parent / "tls" / "cloud.pem"
    assert copied.sync.edges_file == Path("/etc/edges")
    assert copied.root_chain == str(copy / "mine.yaml")


def test_up_copied_with_its_folder_runs_there(tmp_path: Path) -> None:
    plan = Plan(PORTS, CHAINS, EMBEDDED, {}, 1)
    up_writes(tmp_path / "first", plan)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    for role in ("edge", "cloud"):
        file = tmp_path / "second" / role / "settings.yaml"
        assert str(tmp_path) not in file.read_text()
        before = load_settings(file, environ={})
        assert before.data == file.parent
        up_writes(tmp_path / "second", plan)
        assert load_settings(file, environ={}) == before


def test_a_file_with_absolute_paths_goes_on_and_is_told_from_its_place(tmp_path: Path) -> None:
    file = started(tmp_path)
    before = load_settings(file, environ={})
    file.write_text(file.read_text().replace("data: .", f"data: {file.parent}  # mine"))
    text = file.read_text()
    assert load_settings(file, environ={}) == before
    started(tmp_path)
    assert "data: .\n" in file.read_text()
    assert before_path(file).read_text() == text
    assert load_settings(file, environ={}) == before


def test_a_copy_of_a_folder_with_absolute_paths_is_not_run_on_the_original(
    tmp_path: Path,
) -> None:
    file = started(tmp_path / "first")
    file.write_text(file.read_text().replace("data: .", f"data: {file.parent}"))
    (file.parent / "log.db").touch()
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    refused = f"write {tmp_path}/second in place of {tmp_path}/first"
    with pytest.raises(InvalidSettings, match=refused):
        alone(tmp_path / "second")
    shutil.move(tmp_path / "first", tmp_path / "third")
    with pytest.raises(InvalidSettings, match="copied or moved"):
        alone(tmp_path / "third")
    moved = tmp_path / "third" / "cloud" / "settings.yaml"
    moved.write_text(moved.read_text().replace(f"{tmp_path}/first", f"{tmp_path}/third"))
    assert alone(tmp_path / "third").settings().data == moved.parent


def test_data_that_their_owner_put_elsewhere_stay_there(tmp_path: Path) -> None:
    file = started(tmp_path)
    (file.parent / "accounts.json").touch()
    (tmp_path / "disk").mkdir()
    file.write_text(file.read_text().replace("data: .", f"data: {tmp_path}/disk"))
    assert load_settings(started(tmp_path), environ={}).data == tmp_path / "disk"


def test_up_goes_on_in_the_keyspace_that_the_settings_name(tmp_path: Path) -> None:
    shape = SiteShape("sqlite", "cassandra", "", HERE)
    plan = Plan(PORTS, CHAINS, {**EMBEDDED, "edge": shape}, {"cassandra": "127.0.0.1:1"}, 1)
    up_writes(tmp_path, plan)
    file = tmp_path / "edge" / "settings.yaml"
    assert "keyspace: edgeferry_edge" in file.read_text()
    file.write_text(file.read_text().replace("edgeferry_edge", "north"))
    up_writes(tmp_path, plan)
    assert load_settings(file, environ={}).store.cassandra.keyspace == "north"


def test_a_site_that_was_moved_is_not_started_with_its_old_settings(tmp_path: Path) -> None:
    file = started(tmp_path)
    new = file.with_name("settings-moved.yaml")
    where = "Kafka at k:9092"
    plan = MovePlan("cloud", where, None, (), {})
    plan.write(file.parent)
    started(tmp_path)  # a move that was only begun
    plan.finished(new).write(file.parent)
    for start in (
        lambda: kept_settings(tmp_path, "cloud"),
        lambda: started(tmp_path),
        lambda: check_not_moved(load_settings(file, environ={})),
    ):
        with pytest.raises(Stop, match=f"was moved: it has the log in {where} now.*{new}"):
            start()
    result = CliRunner().invoke(main, ["site", "--settings", str(file)])
    assert result.exit_code == 1
    moved = load_settings(file, {"log.kind": "kafka"}, environ={})
    check_not_moved(moved)
    (file.parent / "move.json").unlink()
    check_not_moved(load_settings(file, environ={}))


@pytest.mark.asyncio
async def test_servers_that_do_not_answer_are_told_with_what_to_do() -> None:
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:3 does not answer: start it.*--kafka"):
        await servers_must_answer(SiteShape("kafka", "sqlite", "127.0.0.1:3", ""))
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:3 does not answer.*--cassandra"):
        await servers_must_answer(SiteShape("sqlite", "cassandra", "", "127.0.0.1:3"))
    await servers_must_answer(SiteShape("kafka", "cassandra", HERE, HERE))
    await servers_must_answer(shape_of(Settings(mqtt=MqttSettings()), {}))


def test_up_makes_nothing_when_its_servers_do_not_answer(tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = CliRunner().invoke(main, ["up", "--data", str(data), "--kafka", "127.0.0.1:3"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Kafka at 127.0.0.1:3 does not answer: start it")
    assert {path.name for path in data.iterdir()} == {"lock"}


def test_an_address_may_be_of_one_port_alone(tmp_path: Path) -> None:
    site = alone(tmp_path)
    before = site.settings()
    opened = site.listening(before.sync.listen, None, "0.0.0.0")
    assert (opened.host, opened.port) == ("0.0.0.0", before.sync.listen.port)
    assert (before.http.host, before.mqtt.host) == ("127.0.0.1", "127.0.0.1")
