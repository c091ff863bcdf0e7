"""Values over intervals, asked for over REST."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.unit.api.site import Site
from tests.unit.api.test_telemetry import T, ok, refused, save

VALUES = "/values/timeseries"
DAY = 86_400_000


def day(month: int, of_month: int) -> int:
    return round(datetime(2023, month, of_month, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.asyncio
async def test_values_are_aggregated_by_interval(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, *((T + i * 1000, {"a": i, "b": float(i)}) for i in range(6)))
    asked = {"keys": "a,b,none", "startTs": T, "endTs": T + 6000, "interval": 4000}
    assert await ok(client, VALUES, **asked, agg="SUM") == {
        "a": [{"ts": T + 2000, "value": "6"}, {"ts": T + 5000, "value": "9"}],
        "b": [{"ts": T + 2000, "value": "6.0"}, {"ts": T + 5000, "value": "9.0"}],
    }
    strict = await ok(client, VALUES, **asked, agg="AVG", useStrictDataTypes=True)
    assert strict["a"] == [{"ts": T + 2000, "value": 1.5}, {"ts": T + 5000, "value": 4.5}]
    for agg, found in (("MIN", [0, 4]), ("MAX", [3, 5]), ("COUNT", [4, 2])):
        answer = await ok(client, f"{VALUES}/history", **asked, agg=agg, useStrictDataTypes=True)
        assert [point["value"] for point in answer["a"]] == found


@pytest.mark.asyncio
async def test_intervals_are_in_rising_order_and_know_no_limit(
    site: Site, client: httpx.AsyncClient
) -> None:
    await save(site, *((T + i * 1000, {"a": i}) for i in range(10)))
    asked = {"keys": "a", "startTs": T, "endTs": T + 10_000, "interval": 1, "agg": "MAX"}
    answer = await ok(client, VALUES, **asked, limit=3, orderBy="DESC")
    assert [point["value"] for point in answer["a"]] == [str(i) for i in range(10)]


@pytest.mark.asyncio
async def test_without_an_interval_nothing_is_aggregated(
    site: Site, client: httpx.AsyncClient
) -> None:
    await save(site, *((T + i, {"a": i}) for i in range(3)))
    asked = {"keys": "a", "startTs": T, "endTs": T + 9}
    plain = await ok(client, VALUES, **asked)
    assert await ok(client, VALUES, **asked, agg="SUM") == plain
    assert await ok(client, VALUES, **asked, agg="SUM", interval=0) == plain
    assert await ok(client, VALUES, **asked, agg="NONE", interval=1000) == plain


@pytest.mark.parametrize(
    ("interval_type", "zone", "counts"),
    [
        ("WEEK", "", ["7", "7", "7", "7", "7", "5"]),
        ("WEEK_ISO", "UTC", ["1", "7", "7", "7", "7", "7", "4"]),
        ("MONTH", "", ["31", "9"]),
        ("QUARTER", "Z", ["40"]),
        ("MONTH", "+02:00", ["31", "9"]),
        ("MONTH", "-03:00", ["1", "31", "8"]),
        ("MONTH", "America/Sao_Paulo", ["1", "31", "8"]),
        ("MONTH", "GMT-3", ["1", "31", "8"]),
    ],
)
@pytest.mark.asyncio
async def test_calendar_intervals_in_a_time_zone(
    site: Site, client: httpx.AsyncClient, interval_type: str, zone: str, counts: list[str]
) -> None:
    start = day(1, 1)
    await save(site, *((start + i * DAY, {"a": i}) for i in range(40)))
    asked: dict[str, Any] = {"keys": "a", "startTs": start, "endTs": start + 40 * DAY}
    answer = await ok(
        client, VALUES, **asked, agg="COUNT", intervalType=interval_type, timeZone=zone
    )
    assert [point["value"] for point in answer["a"]] == counts


RANGE = {"keys": "a", "startTs": 0, "endTs": 10**12, "agg": "AVG"}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({**RANGE, "interval": 1000}, "Number of intervals is to high - 1000000000"),
        ({**RANGE, "interval": -1}, "interval"),
        ({**RANGE, "interval": "x"}, "interval"),
        ({**RANGE, "agg": "MEDIAN"}, "agg"),
        ({**RANGE, "intervalType": "DAY"}, "intervalType"),
        ({**RANGE, "intervalType": "WEEK"}, "to high"),
        ({**RANGE, "intervalType": "MONTH", "timeZone": "Nowhere/Land"}, "'Nowhere/Land'"),
        ({**RANGE, "intervalType": "MONTH", "timeZone": "Europe"}, "Europe/Berlin"),
        ({**RANGE, "intervalType": "MONTH", "timeZone": "../../etc/passwd"}, "not known"),
        ({**RANGE, "intervalType": "MONTH", "timeZone": "+99:99"}, "not known"),
        (
            {**RANGE, "keys": ",".join(f"k{i}" for i in range(200)), "interval": 2 * 10**9},
            "larger interval",
        ),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_interval_is_told_why(
    client: httpx.AsyncClient, params: dict[str, Any], said: str
) -> None:
    assert said in await refused(client, VALUES, **params)


@pytest.mark.asyncio
async def test_the_history_path_wants_keys_and_a_range(client: httpx.AsyncClient) -> None:
    path = f"{VALUES}/history"
    assert "startTs" in await refused(client, path, keys="a")
    assert "keys" in await refused(client, path, startTs=1, endTs=2)
    assert "keys" in await refused(client, path, keys=",", startTs=1, endTs=2)
