"""Changing the chain of a site, with the lag of its topics given."""

from collections.abc import Mapping, Sequence

import pytest

from edgeferry.log.port import PartitionLag
from edgeferry.rules.loader import load_chain
from edgeferry.rules.processor import input_topics
from edgeferry.tools.chain_change import ChainChange, ChainNotEmpty, check_change, unread

pytestmark = pytest.mark.asyncio
NEW = load_chain("cloud_history_only", "cloud")


class Lags:
    """Topics with so many unread records; the groups are the topics."""

    def __init__(self, records: Mapping[str, int]) -> None:
        self._records = records

    async def partitions(self) -> dict[str, int]:
        return dict.fromkeys(self._records, 2)

    async def lag(self, group: str, topics: Sequence[str]) -> list[PartitionLag]:
        assert [group] == list(topics)
        end = self._records[group] + 5
        return [PartitionLag(group, 0, 5, 0, end), PartitionLag(group, 1, None, 3, 3)]


def change(before: str | None) -> ChainChange:
    return ChainChange(
        role="cloud",
        site="cloud",
        before=before,
        wanted="cloud_history_only",
        chain=NEW,
        settings="data/cloud/settings.yaml",
        option="--chain-cloud",
    )


async def test_a_change_is_refused_while_records_stand_in_the_old_chain() -> None:
    admin = Lags({"cloud.root": 3, "cloud.cloud_root.save": 8, "cloud.cloud_root.log": 4})
    with pytest.raises(ChainNotEmpty) as refused:
        await check_change(admin, change("cloud_root"))
    assert str(refused.value) == (
        "cloud: 12 unread records stand in cloud.cloud_root.log (4), cloud.cloud_root.save (8), "
        "which no node of chain cloud_history_only reads. Start once with --chain-cloud "
        "cloud_root, wait until `edgeferry lag --settings data/cloud/settings.yaml` shows 0 for "
        "every node, stop, and then start with --chain-cloud cloud_history_only"
    )


async def test_a_change_is_free_when_all_was_read() -> None:
    admin = Lags({"cloud.root": 3, "cloud.cloud_root.save": 0})
    assert await check_change(admin, change("cloud_root")) == ""


@pytest.mark.parametrize("before", [None, "cloud_history_only"])
async def test_what_an_earlier_chain_left_is_told_when_nothing_changes(before: str | None) -> None:
    admin = Lags({"cloud.cloud_root.save": 1})
    warning = await check_change(admin, change(before))
    assert warning.startswith("cloud: 1 unread record stands in cloud.cloud_root.save (1), which")
    assert "start once with their chain (--chain-cloud;" in warning


async def test_only_topics_of_nodes_that_the_chain_has_not_are_looked_at() -> None:
    mine = input_topics("cloud", NEW, root=True)
    others = ["edge.edge_root.save", "cloud.cloud-events", "cloud2.old.save", "cloud.old"]
    admin = Lags(dict.fromkeys([*mine, *others], 7))
    assert await unread(admin, "cloud", NEW) == {}
