"""Options that several tools share: which site is meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeferry.core.chain import Chains
from edgeferry.runtime.settings import Settings
from edgeferry.tools.output import shortened

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS_FILE = "settings.yaml"
_SITE = "edgeferry.site"
DEFAULT_CHAINS = {"edge": "edge_root", "cloud": "cloud_root"}


def settings_path(data: Path, site: str) -> Path:
    """Where ``edgeferry up``, ``cloud`` and ``edge`` keep the settings of a site."""
    return data / site / SETTINGS_FILE


def settings_option(default_site: str) -> Callable[[F], F]:
    """``--settings FILE`` and ``--site edge|cloud``, which stands for the file that is
    kept for that site under ./data; the command gets ``settings_file``."""
    file_option = click.option(
        "--settings",
        "settings_file",
        metavar="FILE",
        envvar="EDGEFERRY_SETTINGS",
        show_envvar=True,
        callback=lambda ctx, param, value: _chosen_file(ctx, value, default_site),
        help="The site's settings.  [default: those of --site]",
    )
    site_option = click.option(
        "--site",
        type=click.Choice(list(DEFAULT_CHAINS)),
        is_eager=True,
        expose_value=False,
        callback=lambda ctx, param, value: ctx.meta.__setitem__(_SITE, value),
        help=f"Which site of this folder: data/SITE/settings.yaml.  [default: {default_site}]",
    )
    return lambda command: site_option(file_option(command))


def _chosen_file(ctx: click.Context, given: str | None, default_site: str) -> Path:
    """``--site`` and ``--settings`` of the command line before EDGEFERRY_SETTINGS before the
    default site."""
    site: str | None = ctx.meta[_SITE]
    source = ctx.get_parameter_source("settings_file")
    if site and given and source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--site and --settings both say which site: give one of them")
    of_site = settings_path(Path("data"), site or default_site)
    path = Path(given) if given and not site else of_site
    problem = _problem_with(path, site or ("" if given else default_site))
    if problem:
        raise click.UsageError(problem)
    return path


def _problem_with(path: Path, site: str) -> str:
    """Of a settings file; site: that it is of, empty when a file was named."""
    named = shortened(str(path))
    try:
        if path.is_file():
            return ""
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        return f"{named}: {error.strerror}: name a settings file with --settings"
    if exists:
        kind = "a folder" if is_folder else "no ordinary file"
        return f"{named} is {kind}: name a settings file with --settings"
    if not site:
        return f"{named} does not exist: name the settings file of a site"
    return (
        f"{named} does not exist: start the {site.capitalize()} first, in this folder, by "
        f"`edgeferry {site}` or `edgeferry up`, or name its settings file with --settings"
    )


def load_site_chains(settings: Settings) -> Chains:
    """The root chain of a site and all that it reaches. Raises InvalidChain."""
    from edgeferry.rules.nesting import load_chains  # all nodes; most tools need none of them

    return load_chains(settings.root_chain or DEFAULT_CHAINS[settings.role], settings.role)


def log_option(name: str, text: str) -> Callable[[F], F]:
    return click.option(
        name,
        type=click.Choice(["sqlite", "kafka"]),
        help=f"{text}  [default: as before, or sqlite]",
    )


def store_option(name: str, text: str) -> Callable[[F], F]:
    return click.option(
        name,
        type=click.Choice(["sqlite", "cassandra"]),
        help=f"{text}  [default: as before, or sqlite]",
    )
