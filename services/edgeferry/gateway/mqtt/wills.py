"""Wills: what clients asked to be published when their connections are gone."""

import logging

from edgeferry.core.errors import EdgeferryError, InvalidPayload
from edgeferry.core.record import Outgoing
from edgeferry.gateway.appender import Appender, weight
from edgeferry.gateway.device_api import DeviceApi
from edgeferry.gateway.mqtt.kept import Kept, LastWill
from edgeferry.gateway.not_yet import NotYet
from edgeferry.gateway.topics import What, published

log = logging.getLogger(__name__)


class Wills:
    """Publishes them as their devices' own messages. Nobody is left to be told of one that
    cannot be published, but the log."""

    def __init__(self, api: DeviceApi, appender: Appender) -> None:
        self._api = api
        self._appender = appender
        self._metrics = api.context.metrics

    def session_ended(self, kept: Kept) -> None:
        """A session has ended for good."""
        self._api.desk.release(kept)
        will, kept.will = kept.will, None
        if will is not None:
            self.publish(will)

    def publish(self, will: LastWill) -> None:
        """At once."""
        try:
            records = self._records(will)
        except (InvalidPayload, NotYet) as error:
            log.info("the will of %s is not published: %s", will.device.name, error)
            return
        if not records:
            return

        def settle(error: EdgeferryError | None) -> None:
            if error is not None:
                log.warning("the will of %s is lost: %s", will.device.name, error)

        self._metrics.received("mqtt", 1, len(will.payload))
        self._appender.put(records, weight(len(will.payload), len(records)), settle)

    def _records(self, will: LastWill) -> list[Outgoing]:
        """Raises InvalidPayload, NotYet."""
        device, api, found = will.device, self._api, published(will.topic)
        if found is not None:
            match found.what:
                case What.TELEMETRY:
                    return api.records.telemetry(device, will.payload)
                case What.ATTRIBUTES:
                    return api.records.attributes(device, will.payload)
                case What.COMMAND_RESPONSE:
                    return api.command_answer(device.id, found.request_id, will.payload)
                case What.CALL:
                    nobody = api.context.ids.next()
                    return api.call(device, nobody, found.request_id, will.payload)[1]
        raise InvalidPayload(f"{will.topic[:100]!r} is not a topic for wills")
