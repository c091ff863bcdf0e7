"""Whatever stands in a chain file, it is a good chain or refused."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.core.errors import InvalidChain
from tests.unit.rules.chain_files import parse

TOKENS = [
    *["chain: x\n", "version: 1\n", "input: a\n", "nodes:\n", "wires:\n", "  a: {type: log}\n"],
    *[
        "  a:\n",
        "    type: log\n",
        "    config: {",
        "}",
        "[",
        "]",
        "- ",
        ": ",
        ", ",
        "\n",
        " ",
        "  ",
    ],
    *["from: a", "relation: Success", "to: [a]", "to: a", "True", "5", "1e400", ".5", "~", "&a "],
    *["*a", "!!set ", "!x ", "<<: ", "? ", "|", ">", "'", '"', "#", "%", "@", "\t", "---\n", "é"],
    *[
        "type: save_timeseries",
        "config: {default_ttl: x}",
        "\x00",
        "\ufeff",
        "- {from: a, to: [b]}\n",
    ],
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=30).map("".join) | st.text(max_size=80))
def test_garbage_is_refused_and_nothing_else(text: str) -> None:
    told = ["fine"]
    try:
        parse(text)
    except InvalidChain as refused:
        told = refused.problems
    assert told
    assert all(len(problem.splitlines()) == 1 for problem in told)


names = st.sampled_from(["a", "b", "c", "x", "", "A"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | names,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "config", "from", "to", "relation", "a"]), inner)
    ),
)
trees = st.fixed_dictionaries(
    {
        "chain": st.just("x") | values,
        "version": st.just(1) | values,
        "input": names | values,
        "nodes": st.dictionaries(
            names,
            st.fixed_dictionaries(
                {"type": st.sampled_from(["log", "message_type_switch"]) | values},
                optional={"config": values, "title": values},
            )
            | values,
        )
        | values,
        "wires": st.lists(
            st.fixed_dictionaries(
                {"from": names, "relation": st.sampled_from(["Success", "Other"]), "to": values}
            )
            | values,
            max_size=4,
        )
        | values,
    }
)


@settings(max_examples=100, deadline=None)
@given(trees)
def test_a_tree_of_anything_is_a_good_chain_or_refused(tree: dict[str, object]) -> None:
    try:
        chain = parse(json.dumps(tree))  # which is YAML too
    except InvalidChain:
        return
    assert chain.input in chain.nodes
    assert {wire.source for wire in chain.wires} <= set(chain.nodes)
    assert {target for wire in chain.wires for target in wire.targets} <= set(chain.nodes)
