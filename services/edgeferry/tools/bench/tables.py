"""How benchmarks show their lines: a table for people, then JSON."""

from collections.abc import Iterator, Mapping, Sequence

from edgeferry.tools.bench.edge_watch import Sample
from edgeferry.tools.output import print_json, print_table

_SAMPLES_SHOWN = 16


def print_lines(
    lines: Sequence[Mapping[str, object]], as_json: bool, head: str = "servers"
) -> None:
    """One column for each, headed by its figure ``head``; then a JSON line for each."""
    if not as_json:
        columns = (str(lines[0]["name"]), *(str(line[head]) for line in lines))
        hidden = ("name", head)
        shown = [{k: v for k, v in line.items() if k not in hidden} for line in lines]
        print_table(columns, side_by_side(shown))
    for line in lines:
        print_json(line)


def print_samples(samples: Sequence[Sample], servers: str) -> None:
    """Some of them, the last included."""
    step = max(1, len(samples) // _SAMPLES_SHOWN)
    print_table(
        ("seconds", "link", "outbox events", "bytes", "oldest s", "Edge MB", "read ms"),
        (
            (
                sample.seconds,
                "up" if sample.connected else "down",
                sample.outbox.depth,
                sample.outbox.bytes,
                sample.outbox.oldest_seconds,
                sample.rss_mb,
                "no answer" if sample.read_ms is None else sample.read_ms,
            )
            for sample in [*samples[::step], *samples[-1:]]
        ),
        title=f"The Edge before, during and after the outage ({servers})",
    )


def side_by_side(lines: Sequence[Mapping[str, object]]) -> list[tuple[object, ...]]:
    """A row for each figure that any of the lines has: its name, then its value in each."""
    flat = [dict(_flat(line)) for line in lines]
    names = dict.fromkeys(name for line in flat for name in line)
    return [(name, *(line.get(name, "") for line in flat)) for name in names]


def _flat(figures: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
