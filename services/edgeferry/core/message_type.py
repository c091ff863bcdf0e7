"""The message types that this system makes or tells apart; the names are an interface."""

from enum import StrEnum


class MessageType(StrEnum):
    """Any other text may stand in a message too: its type is open (semantics 6.2)."""

    POST_TELEMETRY_REQUEST = "POST_TELEMETRY_REQUEST"
    POST_ATTRIBUTES_REQUEST = "POST_ATTRIBUTES_REQUEST"
    TIMESERIES_UPDATED = "TIMESERIES_UPDATED"
    TIMESERIES_DELETED = "TIMESERIES_DELETED"
    ATTRIBUTES_UPDATED = "ATTRIBUTES_UPDATED"
    ATTRIBUTES_DELETED = "ATTRIBUTES_DELETED"
    CONNECT_EVENT = "CONNECT_EVENT"
    DISCONNECT_EVENT = "DISCONNECT_EVENT"
    ACTIVITY_EVENT = "ACTIVITY_EVENT"
    INACTIVITY_EVENT = "INACTIVITY_EVENT"
    ALARM = "ALARM"
    ALARM_CREATED = "ALARM_CREATED"
    ALARM_UPDATED = "ALARM_UPDATED"
    ALARM_SEVERITY_UPDATED = "ALARM_SEVERITY_UPDATED"
    ALARM_ACK = "ALARM_ACK"
    ALARM_CLEAR = "ALARM_CLEAR"
    TO_SERVER_RPC_REQUEST = "TO_SERVER_RPC_REQUEST"
    RPC_CALL_FROM_SERVER_TO_DEVICE = "RPC_CALL_FROM_SERVER_TO_DEVICE"
    TO_SERVER_RPC_RESPONSE = "TO_SERVER_RPC_RESPONSE"
    """In ``device-commands``: the answer to a device's call. Its metadata serviceId, sessionId
    and requestId are those of the call; its data is the answer."""
    RPC_OUTCOME = "RPC_OUTCOME"
    """To the rule node that sent a device a command: what became of it (``core.device_call``)."""
    ENTITY_UPDATED = "ENTITY_UPDATED"
    """In ``device-commands``: what is known of the device, or its credentials, has changed."""
