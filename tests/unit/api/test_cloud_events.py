"""At an Edge: the events that it has made for its Cloud."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import httpx
import pytest

from edgeferry.api.cloud_events import CloudEvents
from edgeferry.api.context import ApiContext
from edgeferry.api.errors import ApiError
from edgeferry.api.pages import Page
from edgeferry.core.events import CloudEvent
from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.core.kv import TsPoint
from edgeferry.core.record import PartitionEnds, Record
from edgeferry.core.store import EntityOrder
from edgeferry.log.codec import encode_cloud_event
from tests.unit.api.site import Site, writing

pytestmark = pytest.mark.asyncio
T = 1_700_000_000_000
DEVICE = "784f394c-42b6-11ec-81d3-0242ac130003"
FAR = 2**62


class Held:
    """A log of one partition each, held from offset 5 on; some bytes are no event."""

    def __init__(self, lanes: Mapping[str, Sequence[bytes]]) -> None:
        self._lanes = lanes

    async def ends(self, topic: str) -> Mapping[int, PartitionEnds]:
        return {0: PartitionEnds(5, 5 + len(self._lanes[topic]))}

    async def read(
        self, topic: str, partition: int, offset: int, max_bytes: int, wait_ms: int
    ) -> Sequence[Record]:
        values = self._lanes[topic]
        most = 3 if max_bytes > 1 else 1
        return [
            Record(topic, 0, at, T + 3, b"", values[at - 5], ())
            for at in range(offset, min(offset + most, 5 + len(values)))
        ]


def event(n: int, type_: str = "DEVICE") -> bytes:
    return encode_cloud_event(
        CloudEvent(
            f"event-{n}", T + n, (T + n) * 1000, DEFAULT_TENANT_ID, "TIMESERIES_UPDATED", type_,
            type_, DEVICE, "pump", "pumps", timeseries=[TsPoint(T + n, {"n": n})],
        )
    )  # fmt: skip


def context_of(site: Site, reader: Held | None) -> ApiContext:
    here = replace(writing(site.changes, site.clock, site.data), site="edge")
    return ApiContext(site.store, site.auth.auth, site.clock, here, reader=reader)


async def numbers(events: CloudEvents, page: Page, start: int = 0, end: int = FAR) -> list[int]:
    found = await events.page(page, (start, end))
    assert found["totalElements"] >= len(found["data"])
    return [row["createdTime"] - T for row in found["data"]]


async def test_both_lanes_are_one_list_by_time(site: Site) -> None:
    held = Held(
        {
            "edge.cloud-events": [event(n, "ALARM") for n in (1, 4, 9)],
            "edge.cloud-events-ts": [event(0), event(2), b"no event", event(6), event(7)],
        }
    )
    events = CloudEvents(context_of(site, held))
    assert await numbers(events, Page(20, 0, "")) == [9, 7, 6, 4, 2, 1, 0]
    assert await numbers(events, Page(2, 1, "")) == [6, 4]
    oldest = EntityOrder.OLDEST
    assert await numbers(events, Page(3, 0, "", oldest)) == [0, 1, 2]
    assert await numbers(events, Page(20, 0, "alarm", oldest)) == [1, 4, 9]
    assert await numbers(events, Page(20, 0, "", oldest), T + 1, T + 7) == [1, 2, 4, 6]
    assert await numbers(events, Page(20, 0, ""), T + 100) == []
    shown = (await events.page(Page(1, 0, ""), (0, FAR)))["data"][0]
    assert (shown["id"], shown["seqId"], shown["type"]) == ({"id": "event-9"}, 7, "ALARM")
    assert shown["entityBody"] == {"timeseries": [{"ts": T + 9, "values": {"n": 9}}]}


async def test_a_cloud_has_none(site: Site, client: httpx.AsyncClient) -> None:
    with pytest.raises(ApiError):
        await CloudEvents(context_of(site, None)).page(Page(1, 0, ""), (0, FAR))
    answer = await client.get("/api/edge/events", params={"pageSize": 1, "page": 0})
    assert (answer.status_code, answer.json()["errorCode"]) == (403, 20)
