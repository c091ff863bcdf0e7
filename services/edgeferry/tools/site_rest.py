"""A running site's REST interface, for commands beside it."""

import asyncio
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from edgeferry.api.accounts import ADMIN_USERNAME
from edgeferry.core.errors import Stop
from edgeferry.runtime.settings import Settings

_SECONDS: Final = 30.0
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_PAGE: Final = 500
PASSWORD_VARIABLE: Final = "EDGEFERRY_ADMIN_PASSWORD"


class SiteAway(Stop):
    """The site does not run, or not where its settings say."""


class RefusedByTheSite(Stop):
    """The site said no, and why."""


class SiteRest:
    """As the administrator, whose password is in the environment or the data folder."""

    def __init__(self, settings: Settings) -> None:
        host, port = settings.http.host, settings.http.port
        host = _ANYWHERE.get(host, host)
        self._base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._data = settings.data
        self._token = ""

    async def shown(self, path: str) -> Any:
        """What the site shows to its own machine. Raises SiteAway, RefusedByTheSite."""
        return await self.call("GET", path)

    async def login(self) -> "SiteRest":
        """Raises SiteAway, RefusedByTheSite."""
        body = {"username": ADMIN_USERNAME, "password": self._password()}
        self._token = (await self.call("POST", "/api/auth/login", body))["token"]
        return self

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str | int] | None = None,
    ) -> Any:
        """The answer's document, None where it is empty. Raises SiteAway, RefusedByTheSite."""
        return await asyncio.to_thread(self._call, method, path, body, query or {})

    async def pages(self, path: str) -> list[dict[str, Any]]:
        """All rows of a list. Raises SiteAway, RefusedByTheSite."""
        rows: list[dict[str, Any]] = []
        number, more = 0, True
        while more:
            page = await self.call("GET", path, query={"pageSize": _PAGE, "page": number})
            rows += page["data"]
            number, more = number + 1, page["hasNext"]
        return rows

    def _call(self, method: str, path: str, body: object, query: Mapping[str, str | int]) -> Any:
        text = f"?{urllib.parse.urlencode(query)}" if query else ""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["X-Authorization"] = f"Bearer {self._token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self._base}{path}{text}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise RefusedByTheSite(_reason(error)) from None
        except OSError as error:
            raise SiteAway(
                f"the site does not answer at {self._base} ({error}): start it first, or name "
                "other settings with --settings"
            ) from None
        return json.loads(content) if content else None

    def _password(self) -> str:
        given = os.environ.get(PASSWORD_VARIABLE)
        if given:
            return given
        for folder in (self._data, self._data.parent):  # its own, or that of `edgeferry up`
            try:
                return (folder / "admin-password").read_text().strip()
            except OSError:
                continue
        raise SiteAway(
            f"no administrator's password in {self._data}: start the site first, or set "
            f"{PASSWORD_VARIABLE}"
        )


def _reason(error: urllib.error.HTTPError) -> str:
    with error:
        text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or f"the site answered {error.code}"
