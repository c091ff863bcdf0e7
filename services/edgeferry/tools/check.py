"""``edgeferry check``: is a chain file right? Every problem at once, or what it makes."""

from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from edgeferry.core.chain import Chain
from edgeferry.core.errors import InvalidChain
from edgeferry.log.topics import Role
from edgeferry.rules.loader import built_in_chains, load_chain
from edgeferry.rules.registry import NODES
from edgeferry.tools.output import json_option, print_json


@click.command("check")
@click.argument("chains", nargs=-1, metavar="[CHAIN]...")
@click.option(
    "--role", type=click.Choice(["edge", "cloud"]), help="Refuse nodes that cannot stand there."
)
@json_option
def main(chains: tuple[str, ...], role: Role | None, as_json: bool) -> None:
    """Check chains: names of built-in ones or paths of files; all built-in ones if none is
    given. Ends with 1 when one has problems."""
    results = [_checked(chain, role) for chain in chains or built_in_chains()]
    if as_json:
        print_json({"ok": all(result["ok"] for result in results), "chains": results})
    else:
        for result in results:
            _print(result)
    if not all(result["ok"] for result in results):
        raise SystemExit(1)


def _checked(name_or_path: str, role: Role | None) -> dict[str, Any]:
    try:
        chain = load_chain(name_or_path, role)
    except InvalidChain as error:
        return {"chain": name_or_path, "ok": False, "problems": error.problems}
    return {
        "chain": chain.name,
        "ok": True,
        "version": chain.version,
        "side": _side(chain),
        "input": chain.input,
        "nodes": [_node(chain, name) for name in chain.nodes],
    }


def _side(chain: Chain) -> str:
    """Where the chain can stand: both, edge, cloud, or neither."""
    sides = {NODES[node.type].side for node in chain.nodes.values()} - {"both"}
    return "neither" if len(sides) > 1 else next(iter(sides), "both")


def _node(chain: Chain, name: str) -> dict[str, Any]:
    entry = name == chain.input
    return {
        "name": name,
        "type": chain.nodes[name].type,
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
        out.print(f"  [bold]{node['name']}[/]  {node['type']}  {escape(node['topic'])}{root}")
        for wire in node["wires"]:
            out.print(f"    {escape(wire['relation'])} -> {', '.join(wire['to'])}")


_SIDES = {
    "both": "Edge and Cloud",
    "edge": "an Edge",
    "cloud": "the Cloud",
    "neither": "no side: it has nodes of both",
}
