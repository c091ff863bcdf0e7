"""Changing the chain of a site, with the lag of its topics given."""

import dataclasses
from collections.abc import Mapping, Sequence

import pytest

from edgeferry.core.chain import Chains
from edgeferry.log.port import PartitionLag
from edgeferry.rules.inputs import node_inputs
from edgeferry.rules.nesting import load_chains
from edgeferry.tools.chain_change import ChainChange, ChainNotEmpty, check_change, unread

pytestmark = pytest.mark.asyncio
NEW = load_chains("cloud_history_only", "cloud")


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
        chains=NEW,
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
    mine = [reads.topic for reads in node_inputs("cloud", NEW)]
    others = ["edge.edge_root.save", "cloud.cloud-events", "cloud2.old.save", "edge.nested"]
    admin = Lags(dict.fromkeys([*mine, *others], 7))
    assert await unread(admin, "cloud", NEW) == {}


async def test_the_entry_of_a_chain_that_is_called_no_more_is_looked_at() -> None:
    assert await unread(Lags({"cloud.root": 1, "cloud.nested": 2}), "cloud", NEW) == {
        "cloud.nested": 2
    }


async def test_what_is_inside_of_a_nested_chain_keeps_the_root_chain_that_called_it() -> None:
    nested = dataclasses.replace(NEW.root, name="nested")
    both = dataclasses.replace(change("cloud_root"), chains=Chains(NEW.root, (nested,)))
    assert await check_change(Lags({"cloud.root": 1}), both) == ""
    with pytest.raises(ChainNotEmpty, match=r"cloud.nested.save \(2\), which are to return"):
        await check_change(Lags({"cloud.root": 1, "cloud.nested.save": 2}), both)
    same = dataclasses.replace(both, before="cloud_history_only")
    assert await check_change(Lags({"cloud.nested.save": 2}), same) == ""
