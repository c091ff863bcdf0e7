"""Options that several tools share: which site is meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeferry.core.chain import Chain
from edgeferry.rules.loader import load_chain
from edgeferry.runtime.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS_FILE = "settings.yaml"
_DEFAULT_CHAINS = {"edge": "edge_root", "cloud": "cloud_root"}


def settings_path(data: Path, site: str) -> Path:
    """Where ``edgeferry up`` keeps the settings of one of its sites."""
    return data / site / SETTINGS_FILE


class SettingsFile(click.ParamType):
    name = "FILE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        path = Path(str(value))
        if not path.is_file():
            self.fail(
                f"{path} does not exist: start `edgeferry up` first, or name a settings file", param
            )
        return path


def settings_option(default_site: str) -> Callable[[F], F]:
    """``--settings FILE``, by default the settings that ``up`` keeps under ./data."""
    return click.option(
        "--settings",
        "settings_file",
        type=SettingsFile(),
        envvar="EDGEFERRY_SETTINGS",
        default=str(settings_path(Path("data"), default_site)),
        show_default=True,
        help="The site's settings.",
    )


def load_root_chain(settings: Settings) -> Chain:
    """Raises InvalidChain."""
    return load_chain(settings.root_chain or _DEFAULT_CHAINS[settings.role], settings.role)
