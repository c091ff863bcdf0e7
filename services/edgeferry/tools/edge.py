"""``edgeferry edge``: an Edge alone. The first time it joins a Cloud by what `edgeferry edges
add` prints there; afterwards it goes on with what its data folder keeps."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.files.whole import write_whole
from edgeferry.runtime.settings import SyncSettings
from edgeferry.tools.alone import AloneOptions, AloneSite, alone_options
from edgeferry.tools.data_folder import held
from edgeferry.tools.dialled import Enrolment
from edgeferry.tools.output import json_option, print_fields, print_json, told_errors
from edgeferry.tools.ready import Ready

_STDIN = "-"


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
@json_option
def edge(
    cloud: str | None,
    key: str | None,
    secret: str | None,
    fingerprint: str | None,
    enrol: Path | None,
    offline: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Run an Edge until Ctrl-C. It joins a Cloud the first time it starts in a data folder,
    by --cloud, --key, --secret and --fingerprint (or --enrol); later starts need none of them."""
    options = AloneOptions(**others)
    if secret == _STDIN:
        secret = sys.stdin.readline().strip()
    said = {"cloud": cloud, "key": key, "secret": secret, "fingerprint": fingerprint}
    with told_errors(), held(options.data.resolve() / "edge"):
        site = AloneSite("edge", options)
        settings = site.settings()
        enrolment = _enrolment(site, {name: value for name, value in said.items() if value}, enrol)
        secret_file = settings.sync.edge_secret_file or site.folder / "secret"
        if enrolment is not None:
            sync = _joined(settings.sync, enrolment, secret_file)
            settings = settings.model_copy(update={"sync": sync})
        site.check(settings, {"http": settings.http, "mqtt": settings.mqtt})
        if enrolment is not None and not (offline or _known(site, settings.sync, enrolment)):
            _check_with_the_cloud(settings.sync, enrolment.secret)
        if enrolment is not None:
            write_whole(secret_file, f"{enrolment.secret}\n".encode(), 0o600)
        site.write(settings)
        sys.exit(site.run(lambda ready: _tell(ready, settings.sync, site.file, as_json)))


def _enrolment(site: AloneSite, said: dict[str, str], file: Path | None) -> Enrolment | None:
    """None when the Edge goes on with what it keeps. Raises InvalidSettings."""
    given = {**(_read(file) if file is not None else {}), **said}
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
    if site.kept is not None and site.kept.sync.edge_key != given["key"]:
        raise InvalidSettings(
            f"{site.folder} holds the Edge with key {site.kept.sync.edge_key!r}, not "
            f"{given['key']!r}: enrol that one in another folder with --data"
        )
    return Enrolment(**given)


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


def _tell(ready: Ready, sync: SyncSettings, file: Path, as_json: bool) -> Callable[[], None]:
    if as_json:
        print_json({**ready.line(), "cloud": sync.address, "settings": str(file)})
    else:
        click.echo("The Edge is ready\n")
        print_fields(
            [
                ("REST, device HTTP", f"http://{ready.http}"),
                ("device MQTT", ready.mqtt),
                ("its Cloud", sync.address),
                ("settings", file),
            ]
        )
        click.echo(f"\nAdd a device:\n  edgeferry devices add NAME --settings {file}")
    sys.stdout.flush()
    return lambda: None
