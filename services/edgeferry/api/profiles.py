"""Device profiles as client programs need them: a device's profile is the name of its type."""

from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from edgeferry.api.pages import entity_id

DEFAULT_PROFILE: Final = "default"


def profile_id(tenant_id: str, name: str) -> str:
    """The same at each site of a tenant."""
    return str(uuid5(NAMESPACE_OID, f"{tenant_id}/device-profile/{name or DEFAULT_PROFILE}"))


def profile_info_shown(tenant_id: str, name: str) -> dict[str, Any]:
    return {
        "id": entity_id("DEVICE_PROFILE", profile_id(tenant_id, name)),
        "tenantId": entity_id("TENANT", tenant_id),
        "name": name,
        "type": "DEFAULT",
        "transportType": "DEFAULT",
        "image": None,
        "defaultDashboardId": None,
    }


def profile_shown(tenant_id: str, name: str) -> dict[str, Any]:
    """createdTime is 0: a profile is there as soon as it is named."""
    return {
        **profile_info_shown(tenant_id, name),
        "createdTime": 0,
        "description": None,
        "default": name == DEFAULT_PROFILE,
        "provisionType": "DISABLED",
        "provisionDeviceKey": None,
        "defaultRuleChainId": None,
        "defaultQueueName": None,
        "defaultEdgeRuleChainId": None,
        "firmwareId": None,
        "softwareId": None,
        "profileData": {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": {"type": "DEFAULT"},
            "provisionConfiguration": {"type": "DISABLED", "provisionDeviceSecret": None},
            "alarms": None,
        },
        "version": 1,
    }


def profile_name_shown(tenant_id: str, name: str) -> dict[str, Any]:
    return {"id": entity_id("DEVICE_PROFILE", profile_id(tenant_id, name)), "name": name}
