"""Whatever is changed where, in which order it arrives and who crashes: all sites end alike."""

from dataclasses import dataclass
from typing import Literal

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgeferry.core.changes import CLOUD_ORIGIN, edge_origin
from edgeferry.core.kv import Scope
from tests.unit.attributes.memory import EDGE_A, EDGE_B, Site, change, cloud, edge, received

Kind = Literal["save", "delete", "batch", "crash", "half-crash", "carry", "clock"]
SITES = ("cloud", EDGE_A, EDGE_B)


@dataclass(frozen=True)
class Step:
    kind: Kind
    site: str
    scope: Scope
    key: str
    number: int


steps = st.builds(
    Step,
    st.sampled_from(["save", "save", "delete", "batch", "crash", "half-crash", "carry", "clock"]),
    st.sampled_from(SITES),
    st.sampled_from([Scope.SERVER, Scope.SHARED]),
    st.sampled_from(["a", "b"]),
    st.integers(0, 5),
)
skews = st.sampled_from([-3_600_000, -200, -1, 0, 0, 1, 200, 400_000, 3_600_000])


class World:
    def __init__(self, skew_a: int, skew_b: int) -> None:
        self.sites: dict[str, Site] = {
            "cloud": cloud(EDGE_A, EDGE_B),
            EDGE_A: edge(EDGE_A),
            EDGE_B: edge(EDGE_B),
        }
        self.sites[EDGE_A].clock.advance(skew_a / 1000)
        self.sites[EDGE_B].clock.advance(skew_b / 1000)
        self.carried: dict[tuple[str, str], int] = {}
        self.changes = 0

    def do(self, step: Step) -> None:
        site = self.sites[step.site]
        match step.kind:
            case "save" | "delete":
                self.changes += 1
                upserts = {step.key: self.changes} if step.kind == "save" else {}
                deletes = () if upserts else (step.key,)
                id_ = f"c{self.changes}"
                site.put(change(id_, site.here.origin, step.scope, upserts, deletes))
            case "batch":
                site.handle(step.number + 1)
            case "crash":
                site.handle(step.number + 1, outputs=False, commit=False)
            case "half-crash":
                site.handle(step.number + 1, outputs=True, commit=False)
            case "carry":
                self.carry(step.site, step.number + 1)
            case "clock":
                site.clock.advance((step.number - 2) / 10)

    def carry(self, site: str, most: int) -> bool:
        """Both ways, a few events of each; whether there were any."""
        if site == "cloud":
            return self.carry(EDGE_A, most) | self.carry(EDGE_B, most)
        top, bottom = self.sites["cloud"], self.sites[site]
        moved = False
        for way, events, target, origin in (
            ("up", bottom.up, top, edge_origin(site)),
            ("down", top.down.get(site, []), bottom, CLOUD_ORIGIN),
        ):
            begin = self.carried.get((site, way), 0)
            for event in events[begin : begin + most]:
                target.put(received(event, origin))
                moved = True
            self.carried[site, way] = min(begin + most, len(events))
        return moved

    def settle(self) -> None:
        for _ in range(200):
            for site in self.sites.values():
                site.handle()
            if not self.carry("cloud", 1000):
                return
        raise AssertionError("events go round for ever")


@settings(
    max_examples=600,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(skews, skews, st.lists(steps, max_size=40))
def test_all_sites_end_alike(skew_a: int, skew_b: int, doing: list[Step]) -> None:
    world = World(skew_a, skew_b)
    for step in doing:
        world.do(step)
    world.settle()
    states = [site.attributes.state() for site in world.sites.values()]
    assert states[0] == states[1] == states[2]
    assert not any(site.outputs.dead for site in world.sites.values())
