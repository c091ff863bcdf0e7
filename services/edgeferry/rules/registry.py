"""The list of node types, in full. A new node type is one import and one line here."""

from collections.abc import Mapping
from typing import Final

from edgeferry.core.node import NodeSpec
from edgeferry.rules.nodes import (
    check_fields,
    delete_attributes,
    delete_timeseries,
    log,
    message_type_switch,
    output,
    push_to_cloud,
    push_to_edge,
    rpc_call_reply,
    rpc_call_request,
    rule_chain,
    save_attributes,
    save_timeseries,
    script_filter,
)

_SPECS: Final = (
    message_type_switch.NODE,
    script_filter.NODE,
    check_fields.NODE,
    save_timeseries.NODE,
    delete_timeseries.NODE,
    save_attributes.NODE,
    delete_attributes.NODE,
    push_to_cloud.NODE,
    push_to_edge.NODE,
    rpc_call_request.NODE,
    rpc_call_reply.NODE,
    rule_chain.NODE,
    output.NODE,
    log.NODE,
)

NODES: Final[Mapping[str, NodeSpec]] = {spec.type: spec for spec in _SPECS}
