"""A client without credentials that asks for some: it may do nothing else."""

from typing import Final

from edgeferry.gateway.gate import NotTaken
from edgeferry.gateway.mqtt.flow import RESOLVE, Flow
from edgeferry.gateway.mqtt.packets import MqttError, Publish, Reason
from edgeferry.gateway.mqtt.session import Session
from edgeferry.gateway.mqtt.shared import Parts
from edgeferry.gateway.payload import to_text
from edgeferry.gateway.provisioning import Status, denied
from edgeferry.gateway.topics import PROVISION_REQUEST, PROVISION_RESPONSE, What

PATIENCE_SECONDS: Final = 60.0
"""So long it may stay."""


class Newcomer:
    """``address``: of the client."""

    def __init__(self, parts: Parts, session: Session, flow: Flow, address: str) -> None:
        self._api = parts.api
        self._gate = parts.gate
        self._session = session
        self._flow = flow
        self._address = address

    def publish(self, packet: Publish) -> None:
        """Nothing more is read until it is answered. Raises MqttError."""
        topic = self._session.admit(packet)
        if topic != PROVISION_REQUEST:
            raise MqttError(
                Reason.NOT_AUTHORIZED,
                f"a client that logs in to be provisioned publishes to {PROVISION_REQUEST} alone",
            )
        self._flow.hold(RESOLVE)
        self._api.spawn(self._answer(packet))

    async def _answer(self, packet: Publish) -> None:
        try:
            self._gate.room("general")
            text = await self._api.provision_or_error("mqtt", packet.payload, self._address)
        except NotTaken as refused:
            self._api.context.metrics.rejected("mqtt", refused.word)
            text = to_text(denied(Status.FAILURE, f"try again: {refused.text}"))
        session = self._session
        session.unacknowledged -= packet.qos
        topic, qos = session.target(What.PROVISION_RESPONSE) or (PROVISION_RESPONSE, 0)
        told = session.kept.outbox.send(topic, text.encode(), qos)
        self._flow.write(session.acknowledgement(packet) + (told or b""))
        self._flow.release(RESOLVE)
