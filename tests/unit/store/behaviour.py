"""What every store must do: one suite, run against SQLite and Cassandra.

Subclasses give a fixture ``bench``.
"""

from tests.unit.store.behaviour_aggregates import AggregateBehaviour
from tests.unit.store.behaviour_attributes import AttributesBehaviour
from tests.unit.store.behaviour_deletes import DeleteBehaviour
from tests.unit.store.behaviour_edge_events import EdgeEventBehaviour
from tests.unit.store.behaviour_entities import EntityBehaviour
from tests.unit.store.behaviour_merging import MergeBehaviour
from tests.unit.store.behaviour_refusals import RefusalBehaviour
from tests.unit.store.behaviour_rpcs import RpcBehaviour
from tests.unit.store.behaviour_telemetry import TelemetryBehaviour


class StoreBehaviour(
    TelemetryBehaviour,
    MergeBehaviour,
    AggregateBehaviour,
    DeleteBehaviour,
    AttributesBehaviour,
    EdgeEventBehaviour,
    EntityBehaviour,
    RpcBehaviour,
    RefusalBehaviour,
):
    pass
