"""``edgeferry check``: is a chain file right? Every problem at once, or what it makes."""

from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from edgeferry.core.chain import Chain, Chains
from edgeferry.core.errors import InvalidChain
from edgeferry.log.topics import Role
from edgeferry.rules.loader import built_in_chains
from edgeferry.rules.nesting import load_chains
from edgeferry.rules.registry import NODES
from edgeferry.tools.output import json_option, print_json


@click.command("check")
@click.argument("chains", nargs=-1, metavar="[CHAIN]...")
@click.option(
    "--role", type=click.Choice(["edge", "cloud"]), help="Refuse nodes that cannot stand there."
)
@json_option
def main(chains: tuple[str, ...], role: Role | None, as_json: bool) -> None:
    """Check chains, with those that they call: names of built-in ones or paths of files; all
    built-in ones if none is given. Ends with 1 when one has problems."""
    found = [one for chain in chains or built_in_chains() for one in _checked(chain, role)]
    results = [one for at, one in enumerate(found) if one not in found[:at]]
    if as_json:
        print_json({"ok": all(result["ok"] for result in results), "chains": results})
    else:
        for result in results:
            _print(result)
    if not all(result["ok"] for result in results):
        raise SystemExit(1)


def _checked(name_or_path: str, role: Role | None) -> list[dict[str, Any]]:
    """The chain and those that it reaches."""
    try:
        chains = load_chains(name_or_path, role)
    except InvalidChain as error:
        return [{"chain": name_or_path, "ok": False, "problems": error.problems}]
    return [
        {
            "chain": chain.name,
            "ok": True,
            "version": chain.version,
            "side": _side(chain, chains),
            "input": chain.input,
            "nodes": [_node(chain, name) for name in chain.nodes],
        }
        for chain in chains.all
    ]


def _side(chain: Chain, chains: Chains) -> str:
    """Where the chain can stand with all that it calls: both, edge, cloud, or neither."""
    sides = _sides(chain, chains) - {"both"}
    return "neither" if len(sides) > 1 else next(iter(sides), "both")


def _sides(chain: Chain, chains: Chains) -> set[str]:
    sides: set[str] = set()
    for node in chain.nodes.values():
        spec = NODES[node.type]
        sides.add(spec.side)
        callee = chains.find(spec.calls(node.config)) if spec.calls is not None else None
        if callee is not None:
            sides |= _sides(callee, chains)
    return sides


def _node(chain: Chain, name: str) -> dict[str, Any]:
    entry = name == chain.input
    spec = NODES[chain.nodes[name].type]
    calls = {"calls": spec.calls(chain.nodes[name].config)} if spec.calls is not None else {}
    return {
        "name": name,
        "type": spec.type,
        **calls,
        "topic": f"<site>.{chain.name}" if entry else f"<site>.{chain.name}.{name}",
        "wires": [
            {"relation": wire.relation, "to": list(wire.targets)}
            for wire in chain.wires
            if wire.source == name
        ],
    }


def _print(result: dict[str, Any]) -> None:
    if not result["ok"]:
        for problem in result["problems"]:
            click.echo(problem, err=True)
        return
    out = Console(soft_wrap=True, highlight=False)
    out.print(
        f"[bold green]OK[/] [bold]{result['chain']}[/], version {result['version']}, "
        f"{len(result['nodes'])} nodes, for {_SIDES[result['side']]}"
    )
    for node in result["nodes"]:
        root = "  (<site>.root if it is the root chain)" if node["name"] == result["input"] else ""
        calls = f" {node['calls']}" if "calls" in node else ""
        out.print(
            f"  [bold]{node['name']}[/]  {node['type']}{calls}  {escape(node['topic'])}{root}"
        )
        for wire in node["wires"]:
            out.print(f"    {escape(wire['relation'])} -> {', '.join(wire['to'])}")


_SIDES = {
    "both": "Edge and Cloud",
    "edge": "an Edge",
    "cloud": "the Cloud",
    "neither": "no side: it has nodes of both",
}
