"""What answers look like, for the OpenAPI document (semantics of the field, sections 2.1 and
7.4). Answers are written by hand: these are checked against them by a test."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class EntityId(BaseModel):
    entityType: str
    id: str


class Id(BaseModel):
    id: str


class Page(BaseModel, Generic[T]):
    data: list[T]
    totalPages: int
    totalElements: int
    hasNext: bool


class Entity(BaseModel):
    """Times in ms."""

    id: EntityId
    createdTime: int
    tenantId: EntityId
    customerId: EntityId
    name: str
    type: str
    label: str | None
    additionalInfo: dict[str, Any]
    version: int


class Device(Entity):
    """``type`` is the name of its profile."""

    deviceProfileId: EntityId
    firmwareId: None
    softwareId: None
    deviceData: dict[str, Any]


class DeviceInfo(Device):
    customerTitle: None
    customerIsPublic: bool
    deviceProfileName: str
    active: bool


class Credentials(BaseModel):
    id: Id
    createdTime: int
    deviceId: EntityId
    credentialsType: Literal["ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE"]
    credentialsId: str
    credentialsValue: str | None
    version: int


class EntitySubtype(BaseModel):
    tenantId: EntityId
    entityType: str
    type: str


class DeviceProfileInfo(BaseModel):
    id: EntityId
    tenantId: EntityId
    name: str
    type: str
    transportType: str
    image: None
    defaultDashboardId: None


class DeviceProfile(DeviceProfileInfo):
    createdTime: int
    description: None
    default: bool
    provisionType: str
    provisionDeviceKey: None
    defaultRuleChainId: None
    defaultQueueName: None
    defaultEdgeRuleChainId: None
    firmwareId: None
    softwareId: None
    profileData: dict[str, Any]
    version: int


class ProfileName(BaseModel):
    id: EntityId
    name: str


class Edge(Entity):
    """``secret`` is shown once, when the edge is made; else it is empty."""

    rootRuleChainId: None
    routingKey: str
    secret: str
    edgeLicenseKey: str
    cloudEndpoint: str


class EdgeInfo(Edge):
    customerTitle: None
    customerIsPublic: bool


class EdgeEvent(BaseModel):
    id: Id
    createdTime: int
    tenantId: EntityId
    edgeId: EntityId
    seqId: int
    uid: str
    type: str
    action: str
    entityId: str
    body: Any


class CloudEvent(BaseModel):
    id: Id
    createdTime: int
    tenantId: EntityId
    seqId: int
    type: str
    action: str
    entityId: str
    entityBody: Any


class RpcRequest(BaseModel):
    body: dict[str, Any]
    oneway: bool
    retries: int | None


class Rpc(BaseModel):
    id: EntityId
    createdTime: int
    tenantId: EntityId
    deviceId: EntityId
    expirationTime: int
    request: RpcRequest
    response: Any
    status: Literal[
        "QUEUED", "SENT", "DELIVERED", "SUCCESSFUL", "TIMEOUT", "EXPIRED", "FAILED", "DELETED"
    ]
    additionalInfo: Any


class User(BaseModel):
    id: EntityId
    createdTime: int
    tenantId: EntityId
    customerId: EntityId
    email: str
    authority: Literal["SYS_ADMIN", "TENANT_ADMIN", "CUSTOMER_USER"]
    name: str
    firstName: str | None
    lastName: str | None
    phone: str | None
    additionalInfo: dict[str, Any]
