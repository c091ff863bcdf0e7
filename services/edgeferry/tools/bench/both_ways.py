"""Attributes and commands in both directions, as load beside the telemetry of ``bench crash``.

Attributes of the scopes SHARED and SERVER are saved and deleted by REST at both sites, those of
the scope CLIENT by the devices; persistent commands go by REST in the Cloud to the devices,
which count what they carry out. Sites may be killed meanwhile: a call that got no answer may
or may not have taken effect, and both is right.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.mqtt_down import ATTRIBUTES_TOPIC, DownDevice
from edgeferry.tools.bench.rest_client import Answer, RestClient

_KEYS: Final = 6
"""Attributes of each scope of each device: few, so that both sites change the same ones."""
_DELETES: Final = 0.15
_METHOD: Final = "bench"
_PAUSE_SECONDS: Final = 0.2
_KNOWN_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BothPlan:
    """rate: changes of attributes a second, by each of the two sites and by the devices.
    commands: a second, over after ``expiry_seconds``. seed: the same load again."""

    rate: float = 10.0
    commands: float = 10.0
    expiry_seconds: float = 30.0
    seed: int = 1


class BothWays:
    """executed: how often each command was carried out, by its number. accepted: rpc id ->
    number, of the calls that were answered."""

    def __init__(self, installation: Installation, plan: BothPlan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._random = Random(plan.seed)
        self._ids = [id_ for id_, _ in installation.devices]
        ready = installation.ready
        self._rest = {
            site: RestClient(ready[site]["http"], ready["admin"]) for site in ("edge", "cloud")
        }
        host, _, port = ready["edge"]["mqtt"].rpartition(":")
        self._at = (host, int(port))
        self._devices = [
            DownDevice(index, token, attributes=self._updated, command=self._carried_out)
            for index, (_, token) in enumerate(installation.devices)
        ]
        self._numbers = 0
        self.executed: Counter[int] = Counter()
        self.accepted: dict[str, int] = {}
        self.updates = 0
        self.changes: Counter[str] = Counter()
        self.unanswered = 0

    def _updated(self, _device: DownDevice, _body: Mapping[str, Any]) -> None:
        self.updates += 1

    def _carried_out(self, _device: DownDevice, body: Mapping[str, Any]) -> object:
        number = body["params"]["number"]
        self.executed[number] += 1
        return {"done": number}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The devices are there, and come back whenever they were cut off; the Cloud has all
        of them assigned to their Edge. Raises Stop."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.stay_connected(*self._at)) for one in self._devices]
            try:
                await self._until_assigned()
                yield
            finally:
                for task in tasks:
                    task.cancel()
        for device in self._devices:
            device.close()
        for rest in self._rest.values():
            rest.close()

    async def _until_assigned(self) -> None:
        """Raises Stop."""
        upto, cloud = self._clock.monotonic() + _KNOWN_SECONDS, self._rest["cloud"]
        page = f"?page=0&pageSize={len(self._ids)}"
        while self._clock.monotonic() < upto:
            with suppress(OSError, TimeoutError):
                edges = (await cloud.call("GET", f"/api/edges{page}")).json["data"]
                path = f"/api/edge/{edges[0]['id']['id']}/devices"
                known = (await cloud.call("GET", f"{path}{page}")).json["data"]
                if {device["id"]["id"] for device in known} >= set(self._ids):
                    return
            await asyncio.sleep(_PAUSE_SECONDS)
        raise Stop(f"the Cloud did not know all devices within {_KNOWN_SECONDS:.0f} s")

    @property
    def unacked(self) -> int:
        """Publishes of the devices that the gateway has not acknowledged."""
        return sum(device.unacked for device in self._devices)

    @asynccontextmanager
    async def offering(self) -> AsyncIterator[None]:
        """Ends with calls under way answered."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for kind, rate in (
                (lambda: self._change("cloud"), self._plan.rate),
                (lambda: self._change("edge"), self._plan.rate),
                (self._publish, self._plan.rate),
                (self._command, self._plan.commands),
            ):
                group.create_task(self._offer(kind, rate, over))
            try:
                yield
            finally:
                over.set()

    def figures(self) -> dict[str, object]:
        return {
            "changes_by": dict(self.changes),
            "updates_at_devices": self.updates,
            "commands_accepted": len(self.accepted),
            "calls_unanswered": self.unanswered,
        }

    async def _offer(
        self, kind: Callable[[], Awaitable[None]], rate: float, over: asyncio.Event
    ) -> None:
        """About so many a second; a site that is away holds only its own kind up."""
        while not over.is_set():
            began = self._clock.monotonic()
            await kind()
            left = self._random.expovariate(rate) - (self._clock.monotonic() - began)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left, 0)):
                    await over.wait()

    async def _change(self, site: str) -> None:
        scope = self._random.choice(("SHARED_SCOPE", "SERVER_SCOPE"))
        path = f"/api/plugins/telemetry/DEVICE/{self._random.choice(self._ids)}"
        key = f"k{self._random.randrange(_KEYS)}"
        if self._random.random() < _DELETES:
            answer = await self._call(site, "DELETE", f"{path}/{scope}?keys={key}")
        else:
            body = {key: self._number(), f"{site}_{key}": self._random.random()}
            answer = await self._call(site, "POST", f"{path}/attributes/{scope}", body)
        if answer is not None:
            self.changes[site] += 1

    async def _publish(self) -> None:
        device = self._random.choice(self._devices)
        device.publish(ATTRIBUTES_TOPIC, {f"c{self._random.randrange(_KEYS)}": self._number()})
        self.changes["devices"] += 1

    async def _command(self) -> None:
        number = self._number()
        body = {
            "method": _METHOD,
            "params": {"number": number},
            "persistent": True,
            "expirationTime": self._clock.now_ms() + round(self._plan.expiry_seconds * 1000),
        }
        path = f"/api/rpc/twoway/{self._random.choice(self._ids)}"
        answer = await self._call("cloud", "POST", path, body)
        if answer is not None:
            self.accepted[answer.json["rpcId"]] = number

    async def _call(self, site: str, method: str, path: str, body: object = None) -> Answer | None:
        """None: not answered, or not with a good answer, as while a site starts."""
        with suppress(OSError, TimeoutError):
            answer = await self._rest[site].call(method, path, body)
            if answer.status == 200:
                return answer
        self.unanswered += 1
        await asyncio.sleep(_PAUSE_SECONDS)
        return None

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
