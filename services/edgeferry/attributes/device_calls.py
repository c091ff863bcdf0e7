"""What the owner of commands does for those that a rule node sent: gives them an end, keeps
whom their outcome goes to, and tells that one once.

What it keeps stands in the command's request under names of its own; they are taken from no
other site and told to none.
"""

import json
import logging
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any, Final

from edgeferry.attributes.facts import Consequences, Here
from edgeferry.core.changes import RpcChange, RpcStatus
from edgeferry.core.device_call import (
    REPLY_TO,
    About,
    Address,
    address_of,
    ends_call,
    outcome,
    outcome_message,
)
from edgeferry.core.message import EntityType
from edgeferry.core.store import Rpc

_TIMEOUT: Final = "timeout"
_MADE_HERE: Final = "madeHere"
"""A command of an Edge's own, of which the Cloud knows nothing."""
_OURS: Final = (REPLY_TO, _TIMEOUT, _MADE_HERE)

log = logging.getLogger(__name__)


def asked(change: RpcChange, request: Mapping[str, Any], here: Here, now_ms: int) -> RpcChange:
    """A wish for a command as it is kept. ``request``: its body."""
    kept = {name: value for name, value in request.items() if name not in _OURS}
    if change.origin == here.origin:
        timeout = request.get(_TIMEOUT)
        if not kept.get("expirationTime") and type(timeout) is int:
            kept["expirationTime"] = now_ms + timeout
        if REPLY_TO in request:
            kept[REPLY_TO] = request[REPLY_TO]
        if here.edge_id:
            kept[_MADE_HERE] = True
    return change if kept == request else replace(change, body=json.dumps(kept))


def for_others(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request without what only the owner of commands has to know."""
    return {name: value for name, value in request.items() if name not in _OURS}


def made_here(request: Mapping[str, Any]) -> bool:
    return request.get(_MADE_HERE) is True


class Outcomes:
    """Tells rule nodes what became of their commands. ``nodes``: the topics of those that the
    site's chains have."""

    def __init__(self, *, nodes: Container[str]) -> None:
        self._nodes = nodes

    def tell(
        self,
        before: Rpc | None,
        change: RpcChange,
        request: Mapping[str, Any],
        answer: str,
        out: Consequences,
    ) -> None:
        """After a state that counted. ``before``: how the command stood; None where that state
        is not one that ends it, or it was unknown. The state that ends the wait is told, none
        after it; after a crash it may be told again, by the same message."""
        to = address_of(request)
        if to is None:
            return
        if request.get("persisted") is True:
            if change.status is RpcStatus.QUEUED:
                said = {"answer": json.dumps({"rpcId": change.rpc_id})}
                self._send(to, change, said, out)
        elif ends_call(request, change.status) and (
            before is None or before.event_id == change.id or not ends_call(request, before.status)
        ):
            oneway = request.get("oneway") is True
            self._send(to, change, outcome(change.status, oneway, answer), out)

    def refuse(
        self, change: RpcChange, request: Mapping[str, Any], known: Mapping[str, Any],
        out: Consequences,
    ) -> None:  # fmt: skip
        """The wish for a command whose id another one has, unless it is the same message's.
        ``known``: the request of that other one."""
        to, other = address_of(request), address_of(known)
        if to is not None and (other is None or other.message_id != to.message_id):
            said = {"error": f"a command with the requestUUID {change.rpc_id} was sent before"}
            self._send(to, change, said, out)

    def _send(
        self, to: Address, change: RpcChange, said: Mapping[str, str], out: Consequences
    ) -> None:
        if to.topic not in self._nodes:
            log.warning(
                "command %s has ended, and node %s, which sent it, is in no chain of this site",
                change.rpc_id, to.topic,
            )  # fmt: skip
            return
        about = About(change.tenant_id, EntityType.DEVICE, change.device_id, change.created_time)
        out.outcomes.append((to.topic, outcome_message(to, about, said)))
