"""The sync protocol in a seeded world: the pure core alone, driven step by step.

One lane, one Edge, one Cloud, a network of ordered streams that break. Everything that a
real run does between two awaits is one step here, so a crash can fall between any two.
"""

from collections.abc import Callable

from edgeferry.sync.filter import EventFilter
from edgeferry.sync.recovery import Origin
from tests.unit.sync.simulation_cloud import CloudSteps
from tests.unit.sync.simulation_edge import EdgeSteps
from tests.unit.sync.simulation_state import EDGE, Received


class World(EdgeSteps, CloudSteps):
    # --- running -----------------------------------------------------------------

    def run(self, steps: int) -> None:
        actions = self._calm_actions() + self._fault_actions()
        names = [action for action, _ in actions]
        weights = [weight for _, weight in actions]
        for action in self.random.choices(names, weights, k=steps):
            action()
        self._calm_down()

    def _calm_actions(self) -> list[tuple[Callable[[], None], int]]:
        return [
            (self.produce, 120),
            (self.connect, 60),
            (self.cloud_reads, 200),
            (self.edge_reads, 200),
            (self.edge_sends, 150),
            (self.cloud_begins_append, 80),
            (self.cloud_appends_one, 250),
            (self.cloud_checkpoints, 30),
            (self.edge_keeps, 40),
            (self.zombie_appends, 30),
            (self.trim_acked, 10),
        ]

    def _fault_actions(self) -> list[tuple[Callable[[], None], int]]:
        faults = self.faults
        return [
            (self.break_connection, faults.breaks),
            (self.edge_crashes, faults.edge_crashes),
            (self.cloud_crashes, faults.cloud_crashes),
            (self.take_backup, faults.restores * 2),
            (self.restore_backup, faults.restores),
            (self.cloud_loses_memory, faults.memory_losses),
            (self.trim_unsent, faults.losing_trims),
            (self.drop_oldest, faults.drops),
            (self.remake_log, faults.log_remade),
        ]

    def _calm_down(self) -> None:
        """No more faults: everything must arrive."""
        for _ in range(20_000):
            if self._all_arrived():
                return
            self.connect()
            self.edge_sends()
            self.cloud_reads()
            self.cloud_begins_append()
            self.cloud_appends_one()
            self.edge_reads()
            self.zombie_appends()
        raise AssertionError(f"does not come to rest: {self.edge} {self.cloud}")

    def _all_arrived(self) -> bool:
        lane = self.edge.lane
        return (
            lane is not None
            and self.edge.connection is not None
            and not self.edge.connection.broken
            and not self.edge.connection.up
            and lane.acked == len(self.edge.log)
            and not self.zombies
        )

    # --- the network ---------------------------------------------------------------

    def break_connection(self) -> None:
        """Sometimes only the Edge notices: the Cloud then holds a half-open one."""
        connection = self.edge.connection
        if connection is None:
            return
        if self.random.random() < 0.5:
            connection.broken = True
        self.edge.connection, self.edge.lane = None, None

    # --- what must hold ------------------------------------------------------------

    @property
    def lost(self) -> int:
        """Events that the Cloud counts as lost."""
        return self.cloud.lost

    @property
    def dropped(self) -> int:
        """Events that the Edge counts as dropped, at rest."""
        self.edge_keeps()
        return self.edge.ledger.standing(self.facts()).total

    def filtered(self) -> list[list[Received]]:
        """Per partition, what the intake lets pass."""
        passed = []
        for partition in self.cloud.topic:
            event_filter = EventFilter({}, 0)
            passed.append(
                [
                    record
                    for number, record in enumerate(partition)
                    if event_filter.passes(number, Origin(EDGE, record.epoch, record.offset))
                ]
            )
        return passed
