"""What the services of one process share, built once."""

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from edgeferry.attributes.facts import Here
from edgeferry.attributes.node_deletes import DeletesByChanges
from edgeferry.attributes.node_saves import AttributesByChanges
from edgeferry.attributes.notifier import Applied
from edgeferry.core.admission import Admission
from edgeferry.core.chain import Chains
from edgeferry.core.changes import Changes
from edgeferry.core.clock import Clock, Stamps, SystemClock
from edgeferry.core.store import Store
from edgeferry.log.open import open_log
from edgeferry.log.port import Log
from edgeferry.rules.inputs import node_inputs
from edgeferry.rules.processor import RuleSite, rule_processors
from edgeferry.rules.registry import NODES
from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.service import Service
from edgeferry.runtime.settings import Settings
from edgeferry.store import open_store
from edgeferry.streams.open import open_transport
from edgeferry.streams.processor import Processor
from edgeferry.streams.runner import Runner
from edgeferry.streams.worker import Environment
from edgeferry.sync.inbox import Received
from edgeferry.tools.options import load_site_chains
from edgeferry.tools.site_changes import (
    RelatedEdges,
    attributes_service,
    changes_of,
    expiry,
    here_of,
    waiting_for,
)
from edgeferry.tools.site_parts import LogPart, StorePart
from edgeferry.tools.site_wanted import Wanted, wanted_nodes
from edgeferry.tools.topics import wanted_topics


@dataclass(frozen=True, slots=True)
class Shared:
    """What the services of one process share, built once."""

    settings: Settings
    chains: Chains
    clock: Clock
    registry: CollectorRegistry
    metrics: Metrics
    log: Log
    store: Store
    board: HealthBoard
    slot: str | None
    admission: Admission
    here: Here
    applied: Applied
    changes: Changes
    stamps: Stamps

    @property
    def site(self) -> str:
        return self.settings.site

    def rule_processors(self, wanted: Wanted) -> list[Processor]:
        """Raises InvalidSettings for a chain or a node that the site has not."""
        return [
            processor
            for chain, nodes in wanted_nodes(self.site, self.chains, wanted)
            for processor in rule_processors(chain, NODES, self._rule_site(), nodes=nodes)
        ]

    def _rule_site(self) -> RuleSite:
        return RuleSite(
            site=self.site,
            chains=self.chains,
            origin=self.here.origin,
            ports={
                "timeseries": self.store.timeseries,
                "attributes": AttributesByChanges(
                    changes=self.changes,
                    attributes=self.store.attributes,
                    tenant_id=self.settings.tenant_id,
                    origin=self.here.origin,
                ),
                "attribute_deletes": DeletesByChanges(
                    changes=self.changes,
                    attributes=self.store.attributes,
                    tenant_id=self.settings.tenant_id,
                    origin=self.here.origin,
                ),
                "edges": RelatedEdges(self.store.entities, self.settings.sync.edges_file),
            },
            max_record_bytes=self.log.writer.max_record_bytes,
            ended=self.metrics.ended,
        )

    def runner(self, processors: Sequence[Processor]) -> Runner:
        transport, transactions = open_transport(self.log, self.slot)
        environment = Environment(
            site=self.site, writer=self.log.writer, clock=self.clock, transactions=transactions
        )
        return Runner(processors, transport, environment, self.metrics)

    def processors(self, wanted: Wanted) -> list[Processor]:
        """Those that both ends have. Raises InvalidSettings."""
        processors = self.rule_processors(wanted) if wanted.nodes else []
        if wanted.attributes:
            nodes = {reads.topic for reads in node_inputs(self.site, self.chains)}
            owner = attributes_service(
                self.here, self.store, self.clock, self.applied, nodes, self.metrics.late_changes
            )
            processors.append(owner)
        return processors

    def beside_processors(self, wanted: Wanted) -> list[Service]:
        """What both ends run along with them."""
        if not wanted.attributes:
            return []
        tenant_id = self.settings.tenant_id
        return [expiry(self.here, tenant_id, self.store, self.changes, self.clock)]

    def received(self) -> Received:
        group = f"{self.site}.{'intake' if self.settings.role == 'cloud' else 'apply'}"
        return Received(
            site=self.site,
            reader=self.log.reader,
            positions=self.store.positions,
            clock=self.clock,
            dead_lettered=lambda lane: self.metrics.lane(lane).dead(1),
            committed=lambda topic: self.log.reader.committed(group, topic),
        )

    def log_and_store(self) -> list[Service]:
        own = self.settings.log.kind == "sqlite"
        log = LogPart(self.log, wanted_topics(self.settings) if own else ())
        return [StorePart(self.store), log]


def share(settings: Settings, board: HealthBoard, slot: str | None) -> Shared:
    """Raises InvalidChain."""
    chains = load_site_chains(settings)
    clock = SystemClock()
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    log = open_log(settings=settings.log, data=settings.data, clock=clock)
    store = open_store(
        settings=settings.store,
        data=settings.data,
        clock=clock,
        metrics=metrics.store(settings.store.kind),
    )
    here, applied = here_of(settings), Applied()
    return Shared(
        settings=settings,
        chains=chains,
        clock=clock,
        registry=registry,
        metrics=metrics,
        log=log,
        store=store,
        board=board,
        slot=slot,
        admission=Admission(),
        here=here,
        applied=applied,
        stamps=Stamps(clock.now_ms),
        changes=changes_of(here, log.writer, waiting_for(settings, store, clock, applied)),
    )
