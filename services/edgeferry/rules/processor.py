"""Makes a processor of a chain's node: decode, call, route.

The topics follow from the chain: node N of chain C reads ``<site>.C.N``, a chain's entry
``<site>.C`` and the root chain's entry ``<site>.root``. A node's group is its topic. Who called
a nested chain travels in the message, so nothing is lost with the process that passes it on.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from edgeferry.core.chain import NESTING_MAX, Chain, ChainNode, Chains
from edgeferry.core.changes import RpcChange, RpcStatus
from edgeferry.core.device_call import with_address
from edgeferry.core.errors import Later, Never, RecordTooLarge, Stop, Undecodable
from edgeferry.core.events import EdgeEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import (
    ERROR_KEY,
    FAILURE,
    SUCCESS,
    Call,
    DeviceCall,
    Emit,
    End,
    Leaving,
    NodeSpec,
    Output,
    Return,
    failure,
)
from edgeferry.core.record import (
    HEADER_ORIGIN,
    HEADER_TRACEPARENT,
    HEADER_TYPE,
    Headers,
    Outgoing,
    Record,
)
from edgeferry.log.change_codec import encode_change
from edgeferry.log.codec import (
    decode_message,
    encode_cloud_event,
    encode_edge_event,
    encode_message,
)
from edgeferry.log.topics import chain_topic, node_topic, site_topic
from edgeferry.rules.inputs import input_topic
from edgeferry.rules.nested import NO_CALLER, WaysBack, deeper
from edgeferry.streams.processor import Dead, Outputs, Processor, TopicPartition

log = logging.getLogger(__name__)


class NodeFailure(Never):
    """A message took Failure where the chain wires none."""


class UndeclaredRelation(Never):
    """A node left by a relation that its type does not declare: a bug of the node."""


@runtime_checkable
class OwnershipAware(Protocol):
    """A port that caches what it knows of stored values, valid while partitions stay."""

    def ownership_changed(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RuleSite:
    """What the processors of a site share.

    chains: all of the site. origin: its site id, as it stands in changes. ended: counts
    messages that a node let go by an unwired relation (chain, node, relation, how many)."""

    site: str
    chains: Chains
    origin: str
    ports: Mapping[str, object]
    max_record_bytes: int
    ended: Callable[[str, str, str, int], None]


def rule_processors(
    chain: Chain,
    specs: Mapping[str, NodeSpec],
    site: RuleSite,
    *,
    nodes: Iterable[str] | None = None,
) -> list[Processor]:
    """One processor for each node of one of the site's chains (or each of ``nodes``)."""
    root = chain.name == site.chains.root.name
    wanted = chain.nodes if nodes is None else {name: chain.nodes[name] for name in nodes}
    return [
        RuleNodeProcessor(
            chain, node, specs[node.type], site, input_topic(site.site, chain, name, root=root)
        )
        for name, node in wanted.items()
    ]


class RuleNodeProcessor:
    """One node instance (``streams.processor.Processor``)."""

    def __init__(
        self, chain: Chain, node: ChainNode, spec: NodeSpec, site: RuleSite, topic: str
    ) -> None:
        self.name = topic
        self.topics = (topic,)
        self.chain = chain.name
        self.node = node.name
        self._config = node.config
        self._spec = spec
        self._site = site
        self._port = site.ports[spec.port] if spec.port else None
        self._arguments = self._batch_arguments()
        self._routes = {
            relation: tuple(node_topic(site.site, chain.name, target) for target in targets)
            for relation, targets in chain.targets(node.name).items()
        }
        self._declared = {relation.lower() for relation in (SUCCESS, FAILURE, *spec.relations)}
        self._ways_back = WaysBack(site.site, site.chains, chain.name, node.name)

    def _batch_arguments(self) -> tuple[Any, ...]:
        arguments: tuple[Any, ...] = (self._config,)
        if self._spec.port:
            arguments += (self._port,)
        if self._spec.state:
            arguments += (self._spec.state(self._config),)
        return arguments

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        if isinstance(self._port, OwnershipAware):
            self._port.ownership_changed()

    async def delivered(self, records: Sequence[Record]) -> None:
        """Nothing is held between batches that a repeat would disturb."""

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        if self._spec.by_type is not None:
            self._switch(records, outputs, self._spec.by_type)
        elif self._spec.process is not None:
            self._each(records, outputs, self._spec.process)
        else:
            await self._batch(records, outputs)

    def fail(self, record: Record, error: Exception, outputs: Outputs) -> None:
        """See ``MakesFailures``: the log has refused what the message led to."""
        message = _decoded(record, outputs)
        if message is not None:
            self._leave(record, message, [failure(message, str(error))], outputs)

    def _switch(
        self, records: Sequence[Record], outputs: Outputs, by_type: Callable[[str], str]
    ) -> None:
        """Route by the ``type`` header; the bytes pass on untouched."""
        found: dict[bytes, tuple[str, ...]] = {}
        append, largest = outputs.records.append, self._site.max_record_bytes
        for record in records:
            kind = _type_of(record)
            if kind is None:
                message = _decoded(record, outputs)
                if message is None:
                    continue
                kind = message.type.encode()
            topics = found.get(kind)
            if topics is None:
                topics = found[kind] = self._topics_of(by_type(kind.decode(errors="replace")))
            if record.value is None:
                outputs.dead.append(Dead(record, Undecodable("empty value")))
                continue
            if len(record.value) > largest:
                outputs.dead.append(Dead(record, self._too_large(record.value)))
                continue
            for topic in topics:
                append(Outgoing(topic, record.key, record.value, record.headers))
            if not topics and _decoded(record, outputs) is not None:  # garbage is told, too
                self._site.ended(self.chain, self.node, by_type(kind.decode(errors="replace")), 1)

    def _each(
        self,
        records: Sequence[Record],
        outputs: Outputs,
        process: Callable[[RuleMessage, Any], Iterable[Leaving]],
    ) -> None:
        config = self._config
        for record in records:
            message = _decoded(record, outputs)
            if message is None:
                continue
            try:
                leaving = list(process(message, config))
            except (Later, Stop):
                raise
            except Never as error:
                leaving = [failure(message, str(error))]
            except Exception as error:  # a bug of the node costs this message alone
                log.exception("%s raised", self.name)
                outputs.dead.append(Dead(record, error))
                continue
            self._leave(record, message, leaving, outputs)

    async def _batch(self, records: Sequence[Record], outputs: Outputs) -> None:
        good: list[tuple[Record, RuleMessage]] = []
        for record in records:
            message = _decoded(record, outputs)
            if message is not None:
                good.append((record, message))
        if not good:
            return
        messages = [message for _, message in good]
        assert self._spec.process_batch is not None
        try:
            results = await self._spec.process_batch(messages, *self._arguments)
        except Never as error:
            if len(messages) > 1:
                raise  # the runner splits the batch until the bad message is alone
            results = [[failure(messages[0], str(error))]]
        for (record, message), leaving in zip(good, results, strict=True):
            self._leave(record, message, leaving, outputs)

    def _leave(
        self, record: Record, message: RuleMessage, leaving: Iterable[Leaving], outputs: Outputs
    ) -> None:
        try:
            outputs.records += self._outgoing(record, message, leaving)
        except RecordTooLarge as error:
            try:
                outputs.records += self._outgoing(record, message, [failure(message, str(error))])
            except Never as worse:
                outputs.dead.append(Dead(record, worse))
        except Never as error:
            outputs.dead.append(Dead(record, error))
        except Exception as error:  # what the node made cannot be encoded
            log.exception("%s left something odd", self.name)
            outputs.dead.append(Dead(record, error))

    def _outgoing(
        self, record: Record, message: RuleMessage, leaving: Iterable[Leaving]
    ) -> list[Outgoing]:
        """Raises RecordTooLarge, NodeFailure, UndeclaredRelation, UnknownCaller."""
        made: list[Outgoing] = []
        for item in leaving:
            if isinstance(item, Output):
                made += self._passed(record, message, item.message, self._way_out(item))
            elif isinstance(item, End):
                self._site.ended(self.chain, self.node, item.reason, 1)
            elif isinstance(item, Emit):
                key, value = _emitted(record, item)
                topic = site_topic(self._site.site, item.channel)
                made.append(Outgoing(topic, key, value, record.headers))
            elif isinstance(item, Call):
                made += self._called(record, message, item)
            elif isinstance(item, Return):
                stack = item.message.stack[:-1]
                out = item.message.with_(stack=stack)
                made += self._passed(record, message, out, self._way_back(item))
            else:
                made.append(self._command(record, item))
        for one in made:
            if len(one.value) > self._site.max_record_bytes:
                raise self._too_large(one.value)
        return made

    def _passed(
        self, record: Record, message: RuleMessage, out: RuleMessage, topics: Sequence[str]
    ) -> list[Outgoing]:
        if not topics:
            return []
        if out is message:
            value, headers = record.value or b"", record.headers
        else:
            value, headers = encode_message(out), _headers(record, message, out)
        key = record.key if out.entity_id == message.entity_id else out.entity_id.encode()
        return [Outgoing(topic, key, value, headers) for topic in topics]

    def _way_out(self, item: Output) -> Sequence[str]:
        """None of it: the message ends here, which is counted. Raises NodeFailure."""
        topics = self._topics_of(item.relation)
        if not topics:
            self._end(item)
        return topics

    def _called(self, record: Record, message: RuleMessage, call: Call) -> list[Outgoing]:
        inside = deeper(call.message, self.chain, self.node)
        if inside is None:
            told = failure(call.message, f"chains are nested deeper than {NESTING_MAX}")
            return self._passed(record, message, told.message, self._way_out(told))
        return self._passed(record, message, inside, (chain_topic(self._site.site, call.chain),))

    def _way_back(self, item: Return) -> Sequence[str]:
        """To what the calling node leads by this node's name. Raises NodeFailure,
        UnknownCaller."""
        if not item.message.stack:
            self._site.ended(self.chain, self.node, NO_CALLER, 1)
            return ()
        way = self._ways_back.to(item.message.stack[-1])
        if not way.topics:
            if self.node == FAILURE.lower():
                reason = item.message.metadata.get(ERROR_KEY, "no reason given")
                raise NodeFailure(f"node {way.node} of chain {way.chain}: {reason}")
            self._site.ended(way.chain, way.node, self.node, 1)
        return way.topics

    def _command(self, record: Record, call: DeviceCall) -> Outgoing:
        message, site = call.message, self._site
        request = call.request
        if call.answered:
            request = with_address(request, self.name, message)
        change = RpcChange(
            id=derived_id(message.id, self.name, 0),
            tenant_id=message.tenant_id,
            device_id=message.entity_id,
            rpc_id=call.rpc_id or derived_id(message.id, self.name, 2),
            status=RpcStatus.QUEUED,
            origin=site.origin,
            created_time=message.ts,
            body=json.dumps(request),
        )
        headers = [(HEADER_ORIGIN, site.origin.encode())]
        headers += [header for header in record.headers if header[0] == HEADER_TRACEPARENT]
        topic = site_topic(site.site, "attribute-changes")
        return Outgoing(topic, message.entity_id.encode(), encode_change(change), headers)

    def _too_large(self, value: bytes) -> RecordTooLarge:
        limit = self._site.max_record_bytes
        return RecordTooLarge(f"{len(value)} bytes are above the limit of {limit}")

    def _topics_of(self, relation: str) -> tuple[str, ...]:
        found = self._routes.get(relation)
        if found is None:
            lower = relation.lower()
            if lower not in self._declared:
                raise UndeclaredRelation(
                    f"node {self.node} of type {self._spec.type} left by {relation!r}"
                )
            found = self._routes[relation] = self._routes.get(lower, ())
        return found

    def _end(self, output: Output) -> None:
        if output.relation.lower() == FAILURE.lower():
            reason = output.message.metadata.get(ERROR_KEY, "no reason given")
            raise NodeFailure(f"node {self.node}: {reason}")
        self._site.ended(self.chain, self.node, output.relation, 1)


def _decoded(record: Record, outputs: Outputs) -> RuleMessage | None:
    """None: it cannot be decoded, and is among the dead."""
    try:
        return decode_message(record.value)
    except Never as error:
        outputs.dead.append(Dead(record, error))
        return None


def _emitted(record: Record, emit: Emit) -> tuple[bytes | None, bytes]:
    """Key and value of an event."""
    event = emit.event
    if isinstance(event, EdgeEvent):
        return event.edge_id.encode(), encode_edge_event(event)
    if isinstance(event, RuleMessage):
        return event.entity_id.encode(), encode_message(event)
    return record.key, encode_cloud_event(event)


def _type_of(record: Record) -> bytes | None:
    return next((value for name, value in record.headers if name == HEADER_TYPE), None)


def _headers(record: Record, before: RuleMessage, after: RuleMessage) -> Headers:
    if before.type == after.type:
        return record.headers
    kept = [header for header in record.headers if header[0] != HEADER_TYPE]
    return [*kept, (HEADER_TYPE, after.type.encode())]
