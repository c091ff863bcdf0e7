"""``edgeferry cloud``: a Cloud alone, which Edges elsewhere join."""

import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import Settings, SyncSettings, load_settings
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.runtime.tls_pins import split_address
from edgeferry.tools.alone import AloneOptions, AloneSite, alone_options
from edgeferry.tools.data_folder import DEFAULT_PORTS, held
from edgeferry.tools.dialled import dialled, pinned_fingerprint
from edgeferry.tools.output import json_option, print_fields, print_json, told_errors
from edgeferry.tools.ready import Ready


@click.command()
@alone_options("cloud")
@click.option(
    "--sync",
    "sync_port",
    type=click.IntRange(0, 65535),
    help="Port for Edges; 0 takes a free one and keeps it.  "
    f"[default: as before, or {DEFAULT_PORTS['sync']}]",
)
@click.option(
    "--sync-host",
    help="Address to listen on for Edges alone, by TLS; REST and devices stay on --host.  "
    "[default: as before, or --host]",
)
@click.option(
    "--address",
    metavar="HOST[:PORT]",
    help="How Edges dial this Cloud; its certificate is made for that host.  "
    "[default: as before, or where it listens]",
)
@click.option(
    "--cert",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Certificate chain of the sync port (PEM).  [default: one is made here]",
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Its private key (PEM).",
)
@json_option
def cloud(
    sync_port: int | None,
    sync_host: str | None,
    address: str | None,
    cert: Path | None,
    key: Path | None,
    as_json: bool,
    **others: Any,
) -> None:
    """Run a Cloud until Ctrl-C. Its settings are kept in the data folder, so the next start
    needs no options. `edgeferry edges add` admits an Edge."""
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key go together")
    options = AloneOptions(**others)
    with told_errors(), held(options.data.resolve() / "cloud"):
        site = AloneSite("cloud", options)
        settings = site.settings()
        sync = _sync(site, settings.sync, (sync_host, sync_port), address)
        sync = sync.model_copy(update=_certificate(site, sync, cert, key))
        settings = settings.model_copy(update={"sync": sync})
        site.check(settings, {"http": settings.http, "mqtt": settings.mqtt, "sync": sync.listen})
        site.write(settings)
        sys.exit(site.run(lambda ready: _tell(ready, site.file, as_json)))


def _sync(
    site: AloneSite,
    kept: SyncSettings,
    asked: tuple[str | None, int | None],
    address: str | None,
) -> SyncSettings:
    """asked: host and port to listen on."""
    host, port = asked
    listen = site.listening(kept.listen, port, host)
    if address is not None:
        name, dialled_port = split_address(address, listen.port)
        address = f"[{name}]:{dialled_port}" if ":" in name else f"{name}:{dialled_port}"
    return kept.model_copy(
        update={
            "listen": listen,
            "address": kept.address if address is None else address,
            "edges_file": kept.edges_file or site.folder / "edges.json",
        }
    )


def _certificate(
    site: AloneSite, sync: SyncSettings, cert: Path | None, key: Path | None
) -> dict[str, Path]:
    """Those given, those kept, or our own. Raises InvalidSettings."""
    folder = site.folder.parent / "tls"
    cert = cert.resolve() if cert else sync.cert_file
    key = key.resolve() if key else sync.key_file
    if cert is None or key is None or cert.parent == folder:
        host, _ = split_address(dialled(sync))
        made = ensure_dev_authority(folder, SystemClock(), [host])
        return {"cert_file": made.cert, "key_file": made.key}
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"{cert} and {key} are no certificate and its key, both PEM: {error}"
        ) from error
    return {"cert_file": cert, "key_file": key}


def _tell(ready: Ready, file: Path, as_json: bool) -> Callable[[], None]:
    settings: Settings = load_settings(file)
    at, fingerprint = dialled(settings.sync), pinned_fingerprint(settings.sync)
    add = f"edgeferry edges add NAME --settings {file}"
    if as_json:
        print_json(
            {**ready.line(), "address": at, "fingerprint": fingerprint, "settings": str(file)}
        )
    else:
        click.echo("The Cloud is ready\n")
        print_fields(
            [
                ("REST", f"http://{ready.http}"),
                ("device MQTT", ready.mqtt),
                *AloneSite.secure(settings),
                ("sync, for Edges", at),
                ("its fingerprint", fingerprint or "not needed: everybody trusts its certificate"),
                ("settings", file),
            ]
        )
        click.echo(f"\nAdmit an Edge (prints the command to run there):\n  {add}")
    sys.stdout.flush()
    return lambda: None
