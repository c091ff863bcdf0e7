"""A good chain file, and what the loader says of another."""

import pytest

from edgeferry.core.chain import Chain
from edgeferry.core.errors import InvalidChain
from edgeferry.log.topics import Role
from edgeferry.rules.loader import parse_chain

GOOD = """
chain: x
version: 2
input: switch
nodes:
  switch: {type: message_type_switch, title: What is it}
  save: {type: save_timeseries, config: {default_ttl: 60}}
  attributes: {type: save_attributes, config: {scope: CLIENT_SCOPE}}
  log: {type: log}
wires:
  - {from: switch, relation: Post telemetry, to: [save]}
  - {from: switch, relation: post ATTRIBUTES, to: [attributes, log]}
  - {from: save, relation: Failure, to: [log]}
"""

ADVANCED = (
    "processing_settings: {type: ADVANCED, timeseries: {type: SKIP}, "
    "latest: {type: DEDUPLICATE, deduplication_interval_secs: 86401}}"
)


def parse(text: str, role: Role | None = "edge") -> Chain:
    return parse_chain(text, "chains/x.yaml", "x", role)


def problems(text: str, role: Role | None = "edge") -> list[str]:
    with pytest.raises(InvalidChain) as caught:
        parse(text, role)
    prefix = "chains/x.yaml: "
    assert all(problem.startswith(prefix) for problem in caught.value.problems)
    return [problem.removeprefix(prefix) for problem in caught.value.problems]
