from pathlib import Path

import pytest

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import load_settings
from edgeferry.runtime.settings_reference import reference

ROOT = Path(__file__).resolve().parents[3]


def written(folder: Path, text: str) -> Path:
    file = folder / "settings.yaml"
    file.write_text(text)
    return file


def refused(
    file: Path | None = None,
    overrides: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(file, overrides, environ=environ or {})
    return str(caught.value)


def test_nothing_given_is_an_edge_on_this_machine() -> None:
    settings = load_settings(None, environ={})
    assert (settings.role, settings.http.host, settings.http.port) == ("edge", "127.0.0.1", 8080)


def test_options_win_over_environment_over_secrets_over_file(tmp_path: Path) -> None:
    file = written(
        tmp_path, "http: {port: 1, host: file}\nmqtt: {port: 1}\nsite: file\nrole: cloud"
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "http__port").write_text("2\n")
    (secrets / "EDGEFERRY_MQTT__PORT").write_text("2\n")
    (secrets / "site").write_text("secret\n")
    (secrets / "..data").mkdir()
    environ = {
        "EDGEFERRY_SECRETS": str(secrets),
        "EDGEFERRY_HTTP__PORT": "3",
        "EDGEFERRY_MQTT__PORT": "3",
    }
    settings = load_settings(file, {"http.port": 4, "site": None}, environ=environ)
    assert settings.http.port == 4
    assert settings.mqtt.port == 3
    assert settings.site == "secret"
    assert settings.http.host == "file"
    assert settings.role == "cloud"


def test_a_list_is_written_with_commas_in_the_environment() -> None:
    environ = {"EDGEFERRY_STORE__CASSANDRA__CONTACT_POINTS": "a:1, b:2"}
    settings = load_settings(None, environ=environ)
    assert settings.store.cassandra.contact_points == ("a:1", "b:2")


def test_json_is_a_settings_file_too(tmp_path: Path) -> None:
    file = written(tmp_path, '{"role": "cloud", "log": {"kafka": {"bootstrap": "k:9092"}}}')
    assert load_settings(file, environ={}).log.kafka.bootstrap == "k:9092"


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, ""), environ={}).role == "edge"


def test_all_problems_are_told_at_once_with_name_and_source(tmp_path: Path) -> None:
    file = written(tmp_path, "role: edg\nhttp: {port: abc, hots: x}\nstore: 5\nmqtt: {port: 70000}")
    text = refused(file, {"sync.in_flight": 0}, {"EDGEFERRY_API__ACCESS_SECONDS": "1"})
    assert text.startswith("7 problems in the settings:")
    here, variable = f"(in {file})", "(environment EDGEFERRY_API__ACCESS_SECONDS)"
    sections = "kind, cassandra, credentials_key_file"
    assert text.splitlines()[1:] == [
        f"  role: is 'edg', should be 'edge' or 'cloud' {here}",
        f"  store: is 5, should hold names with values: {sections} {here}",
        f"  http.port: is 'abc', should be a valid integer {here}",
        f"  http.hots: no such setting; did you mean host? {here}",
        f"  mqtt.port: is 70000, should be less than or equal to 65535 {here}",
        "  sync.in_flight: is 0, should be greater than or equal to 1 (option)",
        f"  api.access_seconds: is '1', should be greater than or equal to 10 {variable}",
    ]


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("EDGEFERRY_STROE__KIND", "did you mean store?"),
        ("EDGEFERRY_LOG_LEVLE", "did you mean log_level?"),
        ("EDGEFERRY_HTTP__PROT", "did you mean port?"),
        ("EDGEFERRY_HTTP", "should hold names with values"),
    ],
)
def test_a_slip_in_the_environment_is_refused(variable: str, said: str) -> None:
    text = refused(environ={variable: "1"})
    assert said in text
    assert variable in text


def test_variables_that_others_make_are_left_alone() -> None:
    environ = {
        "EDGEFERRY_PORT": "tcp://10.0.0.1:8080",
        "EDGEFERRY_SERVICE_HOST": "10.0.0.1",
        "EDGEFERRY_API_PORT_8080_TCP": "x",
        "EDGEFERRY_ADMIN_PASSWORD": "x",
        "HOME": "/",
    }
    assert load_settings(None, environ=environ) == load_settings(None, environ={})


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "line 1"), ("- a", "must hold names with values"), ("7", "must hold names")],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(written(tmp_path, text))


def test_a_name_that_is_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    file = written(tmp_path, "role: edge\nhttp:\n  port: 1\n  port: 2\nrole: cloud\n")
    assert refused(file).splitlines()[1:] == [
        f"  settings file {file}: line 4, column 3: the key port stands here twice",
        f"  settings file {file}: line 5, column 1: the key role stands here twice",
    ]


@pytest.mark.parametrize("given", ["true", "on", "False"])
def test_a_boolean_is_no_number(tmp_path: Path, given: str) -> None:
    file = written(tmp_path, f"limits: {{payload_bytes: {given}, device_rate: {given}}}")
    lines = refused(file).splitlines()[1:]
    assert len(lines) == 2
    for name, line in zip(("payload_bytes", "device_rate"), lines, strict=True):
        assert line.startswith(f"  limits.{name}: is {given in ('true', 'on')}, should not be ")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert f"{absent} does not exist" in refused(absent)
    assert f"{absent} is no folder" in refused(environ={"EDGEFERRY_SECRETS": str(absent)})


def test_an_unknown_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("x")
    assert "no such setting; did you mean api?" in refused(
        environ={"EDGEFERRY_SECRETS": str(tmp_path)}
    )


def test_a_secret_is_never_repeated(tmp_path: Path) -> None:
    file = written(tmp_path, "api: {jwt_secret: [hidden-7], read_token: {a: hidden-7}}")
    assert "hidden-7" not in refused(file)
    settings = load_settings(None, {"api.read_token": "hidden-7"}, environ={})
    assert "hidden-7" not in repr(settings)
    assert settings.api.read_token.get_secret_value() == "hidden-7"


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == reference()
