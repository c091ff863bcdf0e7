"""``edgeferry edge``: an Edge alone. The first time it joins a Cloud by what `edgeferry edges
add` prints there; afterwards it goes on with what its data folder keeps, and an option changes
what it says."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.files.whole import write_whole
from edgeferry.runtime.settings import Settings, SyncSettings
from edgeferry.tools.alone import AloneOptions, AloneSite, alone_options
from edgeferry.tools.data_folder import held
from edgeferry.tools.dialled import Enrolment
from edgeferry.tools.output import json_option, print_fields, print_json, told_errors
from edgeferry.tools.ready import Ready

_STDIN = "-"
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@click.command()
@alone_options("edge")
@click.option(
    "--cloud",
    metavar="HOST:PORT",
    envvar="EDGEFERRY_EDGE_CLOUD",
    show_envvar=True,
    help="The Cloud's sync address.",
)
@click.option("--key", envvar="EDGEFERRY_EDGE_KEY", show_envvar=True, help="The key of this Edge.")
@click.option(
    "--secret",
    envvar="EDGEFERRY_EDGE_SECRET",
    show_envvar=True,
    help="Its secret; - reads it from standard input, so that no list of processes shows it.",
)
@click.option(
    "--fingerprint",
    envvar="EDGEFERRY_EDGE_FINGERPRINT",
    show_envvar=True,
    help="sha256:... of the Cloud's certificate; not for one that everybody trusts.",
)
@click.option(
    "--enrol",
    type=click.Path(dir_okay=False, exists=True, allow_dash=True, path_type=Path),
    help="A file with these four, as `edgeferry edges add --json` prints it; - for standard input.",
)
@click.option(
    "--offline", is_flag=True, help="Keep them without asking the Cloud whether they are right."
)
@click.option(
    "--enrol-only",
    is_flag=True,
    help="Keep them and end. With a new secret alone also while the Edge runs, which takes it "
    "with its next attempt.",
)
@click.option(
    "--again",
    is_flag=True,
    help="This folder's Edge is admitted in the Cloud with another --key now: what waits here "
    "goes up as that edge's, once its devices are assigned to that one.",
)
@json_option
def edge(
    cloud: str | None,
    key: str | None,
    secret: str | None,
    fingerprint: str | None,
    enrol: Path | None,
    offline: bool,
    enrol_only: bool,
    again: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Run an Edge until Ctrl-C. It joins a Cloud the first time it starts in a data folder,
    by --cloud, --key, --secret and --fingerprint (or --enrol); later starts need none of them.
    Of an Edge that has joined, each of them changes what it says, such as --secret a secret."""
    options = AloneOptions(**others)
    if secret == _STDIN:
        secret = sys.stdin.readline().strip()
    said = {"cloud": cloud, "key": key, "secret": secret, "fingerprint": fingerprint}
    given = {name: value for name, value in said.items() if value}
    with told_errors():
        if enrol_only and enrol is None and not options.says_more:
            site = AloneSite("edge", options)
            if _is_new_secret(site, given):
                _take_secret(site, given, offline, as_json)
                return
        with held(options.data.resolve() / "edge"):
            site = AloneSite("edge", options)
            settings = site.settings()
            enrolment = _enrolment(site, given, enrol, again)
            if enrolment is not None:
                sync = _joined(settings.sync, enrolment, _secret_file(site, settings.sync))
                settings = settings.model_copy(update={"sync": sync})
            site.check(settings, {"http": settings.http, "mqtt": settings.mqtt})
            if enrolment is not None:
                _keep_secret(site, settings.sync, enrolment, offline)
            site.write(settings)
            if enrol_only:
                _tell_kept(site, settings.sync, as_json, "`edgeferry edge` goes on with it")
                return
            sys.exit(site.run(lambda ready: _tell(ready, settings, site.file, as_json)))


def _is_new_secret(site: AloneSite, given: Mapping[str, str]) -> bool:
    """Whether nothing else is said than what the folder keeps."""
    if site.kept is None or "secret" not in given:
        return False
    sync = site.kept.sync
    kept = {"cloud": sync.address, "key": sync.edge_key, "fingerprint": sync.fingerprint}
    return all(kept[name] == value for name, value in given.items() if name != "secret")


def _take_secret(site: AloneSite, given: dict[str, str], offline: bool, as_json: bool) -> None:
    """Of an Edge that may be running: it reads its secret each time that it connects.

    Raises InvalidSettings, NotEnrolled."""
    enrolment = _enrolment(site, given, None, again=False)
    if site.kept is not None and enrolment is not None:
        sync = site.kept.sync
        _keep_secret(site, sync, enrolment, offline)
        _tell_kept(site, sync, as_json, "a running Edge connects with it by itself")


def _secret_file(site: AloneSite, sync: SyncSettings) -> Path:
    return sync.edge_secret_file or site.folder / "secret"


def _keep_secret(site: AloneSite, sync: SyncSettings, enrolment: Enrolment, offline: bool) -> None:
    """When the Cloud takes it. Raises NotEnrolled."""
    if not (offline or _known(site, sync, enrolment)):
        _check_with_the_cloud(sync, enrolment.secret)
    write_whole(_secret_file(site, sync), f"{enrolment.secret}\n".encode(), 0o600)


def _enrolment(
    site: AloneSite, said: dict[str, str], file: Path | None, again: bool
) -> Enrolment | None:
    """None when the Edge goes on with what it keeps. Raises InvalidSettings."""
    given = {**(_read(file) if file is not None else {}), **said}
    if given and site.kept is not None:
        given = {**_kept(site, site.kept.sync, given), **given}
    if not given:
        if site.kept is None:
            raise InvalidSettings(
                f"no Edge is enrolled in {site.folder}: `edgeferry edges add NAME` in the Cloud "
                "prints the command that does it"
            )
        return None
    missing = [f"--{name}" for name in ("cloud", "key", "secret") if not given.get(name)]
    if missing:
        raise InvalidSettings(f"to enrol, {', '.join(missing)} is missing")
    if site.kept is not None and site.kept.sync.edge_key != given["key"] and not again:
        raise InvalidSettings(
            f"{site.folder} holds the Edge with key {site.kept.sync.edge_key!r}, not "
            f"{given['key']!r}: if that is another Edge, enrol it in another folder with --data; "
            "if this one got another key in the Cloud, give --again and it goes on as that edge, "
            "with what waits here"
        )
    return Enrolment(**given)


def _kept(site: AloneSite, sync: SyncSettings, given: Mapping[str, str]) -> dict[str, str]:
    """What need not be said again. The secret of another key is another one, and so is the
    certificate of another Cloud."""
    kept = {"cloud": sync.address, "key": sync.edge_key}
    if "cloud" not in given:
        kept["fingerprint"] = sync.fingerprint
    file = _secret_file(site, sync)
    if given.get("key", sync.edge_key) == sync.edge_key and file.exists():
        kept["secret"] = file.read_text().strip()
    return {name: value for name, value in kept.items() if value}


def _read(file: Path) -> dict[str, str]:
    try:
        text = sys.stdin.read() if str(file) == _STDIN else file.read_text()
        parsed = orjson.loads(text)
        return {name: str(parsed[name]) for name in Enrolment._fields if parsed.get(name)}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidSettings(
            f"{file} is no enrolment, as `edgeferry edges add --json` prints it: {error}"
        ) from error


def _joined(kept: SyncSettings, enrolment: Enrolment, secret_file: Path) -> SyncSettings:
    """Raises InvalidSettings."""
    from edgeferry.runtime.tls_pins import parsed_fingerprint, split_address

    split_address(enrolment.cloud)
    wanted = enrolment.fingerprint
    return kept.model_copy(
        update={
            "address": enrolment.cloud,
            "fingerprint": parsed_fingerprint(wanted) if wanted else "",
            "edge_key": enrolment.key,
            "edge_secret_file": secret_file,
        }
    )


def _known(site: AloneSite, sync: SyncSettings, enrolment: Enrolment) -> bool:
    """The same was given before, as where it stands in a container's environment."""
    file = sync.edge_secret_file
    if site.kept is None or sync != site.kept.sync or file is None or not file.exists():
        return False
    return file.read_text().strip() == enrolment.secret


def _check_with_the_cloud(sync: SyncSettings, secret: str) -> None:
    """Raises NotEnrolled."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would print is told by our error
    from edgeferry.sync.enrolment import ask_the_cloud

    welcomed = asyncio.run(ask_the_cloud(sync, secret, SystemClock().now_ms()))
    click.echo(f"the Cloud at {sync.address} knows this Edge as {welcomed.edge_name}", err=True)


def _tell_kept(site: AloneSite, sync: SyncSettings, as_json: bool, then: str) -> None:
    if as_json:
        print_json({"cloud": sync.address, "key": sync.edge_key, "settings": str(site.file)})
    else:
        click.echo(f"kept in {site.folder}: {then}")


def _tell(ready: Ready, settings: Settings, file: Path, as_json: bool) -> Callable[[], None]:
    sync = settings.sync
    if as_json:
        print_json({**ready.line(), "cloud": sync.address, "settings": str(file)})
    else:
        click.echo("The Edge is ready\n")
        print_fields(
            [
                ("REST, device HTTP", f"http://{ready.http}"),
                ("device MQTT", ready.mqtt),
                *AloneSite.secure(settings),
                ("its Cloud", sync.address),
                ("settings", file),
            ]
        )
        if settings.mqtt.host in _THIS_MACHINE:
            click.echo(
                f"\nOnly this machine reaches it ({settings.mqtt.host}). For devices elsewhere "
                "start it once with\n--host 0.0.0.0, or the address that they know it by."
            )
        click.echo(f"\nAdd a device:\n  edgeferry devices add NAME --settings {file}")
    sys.stdout.flush()
    return lambda: None
