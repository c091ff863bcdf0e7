"""Commands to devices (semantics of the field, section 7.4): one-way, two-way, persistent. Each
is kept first, so it reaches a device behind an Edge that is away, until it expires."""

import json
from typing import Annotated, Any, Final, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from edgeferry.api import shapes
from edgeferry.api.answers import json_answer
from edgeferry.api.bodies import bad_request, json_object
from edgeferry.api.context import ApiContext
from edgeferry.api.entities import Entities
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import Page, PageByTimeQuery, entity_id, page_of, window
from edgeferry.api.routes.documented import (
    COMMAND,
    ERRORS,
    TOKEN_WANTED,
    ErrorBody,
    Responses,
    takes,
)
from edgeferry.core.changes import RPC_OPEN, RPC_RANKS, RpcChange, RpcStatus, expired_body
from edgeferry.core.ids import new_entity_id
from edgeferry.core.message import EntityType
from edgeferry.core.store import Rpc

DEFAULT_MS: Final = 10_000
LEAST_MS: Final = 5_000
MOST_MS: Final = 600_000
_LOOK_SECONDS: Final = 1.0
"""A command is looked at so often, whether it is told of news or not."""

DevicePath = Annotated[UUID, Path(alias="deviceId")]
RpcPath = Annotated[UUID, Path(alias="rpcId")]
StatusName = Literal[
    "QUEUED", "SENT", "DELIVERED", "SUCCESSFUL", "TIMEOUT", "EXPIRED", "FAILED", "DELETED"
]


class _Version(NamedTuple):
    """Of the paths: their status codes differ."""

    prefix: str
    timed_out: int
    not_connected: int


_VERSIONS = (_Version("/api/rpc", 504, 504), _Version("/api/plugins/rpc", 408, 409))


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["rpc"], dependencies=TOKEN_WANTED, responses=ERRORS)
    for version in _VERSIONS:
        for oneway in (True, False):
            _add_call(router, context, version, oneway)
    _add_persistent(router, context)
    return router


def _add_call(router: APIRouter, context: ApiContext, version: _Version, oneway: bool) -> None:
    name = "oneway" if oneway else "twoway"

    @router.post(
        f"{version.prefix}/{name}/{{deviceId}}",
        name=f"{name} {version.prefix}",
        operation_id=f"{name}{version.timed_out}",
        responses=_call_answers(version),
        openapi_extra=takes(COMMAND),
    )
    async def call(request: Request, device: DevicePath) -> Response:
        """The device's answer; nothing of a one-way command; its rpcId when it is
        persistent."""
        body = await json_object(request, context.writing.limits)
        return await _Calls(context).call(str(device), _wanted(body, oneway), version)


def _call_answers(version: _Version) -> Responses:
    return {
        200: {"description": "The answer of the device, if any"},
        version.timed_out: {"description": "No answer in time", "model": ErrorBody},
        version.not_connected: {"description": "Not connected, or no answer", "model": ErrorBody},
    }


def _add_persistent(router: APIRouter, context: ApiContext) -> None:
    calls = _Calls(context)

    @router.get("/api/rpc/persistent/{rpcId}", response_model=shapes.Rpc)
    async def get_rpc(rpc_id: RpcPath) -> Response:
        return json_answer_text(await calls.get(str(rpc_id)))

    @router.delete("/api/rpc/persistent/{rpcId}", response_class=Response)
    async def delete_rpc(rpc_id: RpcPath) -> Response:
        await calls.end(await calls.known(str(rpc_id)), RpcStatus.DELETED)
        return Response()

    @router.get("/api/rpc/persistent/device/{deviceId}", response_model=shapes.Page[shapes.Rpc])
    async def rpcs_of_device(
        device: DevicePath,
        page: PageByTimeQuery,
        status: Annotated[StatusName | None, Query(alias="rpcStatus")] = None,
    ) -> Response:
        wanted = RpcStatus(status) if status else None
        return json_answer_text(await calls.page(str(device), wanted, page))


class _Wanted(NamedTuple):
    method: str
    params: Any
    oneway: bool
    timeout_ms: int
    expires_ms: int | None
    persistent: bool
    retries: int | None
    additional_info: Any


def _wanted(body: dict[str, Any], oneway: bool) -> _Wanted:
    """Raises ApiError."""
    method = body.get("method")
    if not isinstance(method, str) or not method.strip():
        raise bad_request("method: the name of a method is wanted")
    timeout = _number(body, "timeout")
    return _Wanted(
        method=method,
        params=body.get("params", {}),
        oneway=oneway,
        timeout_ms=min(max(DEFAULT_MS if timeout is None else timeout, LEAST_MS), MOST_MS),
        expires_ms=_number(body, "expirationTime"),
        persistent=body.get("persistent") is True,
        retries=_number(body, "retries"),
        additional_info=body.get("additionalInfo"),
    )


def _number(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**53:
        raise bad_request(f"{name}: a whole number that is not negative is wanted")
    return value


class _Calls:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._rpcs = context.store.rpcs
        self._entities = Entities(context)

    async def call(self, device_id: str, wanted: _Wanted, version: _Version) -> Response:
        await self._entities.known(EntityType.DEVICE, device_id)
        now_ms, rpc_id = self._context.clock.now_ms(), new_entity_id()
        expires_ms = wanted.expires_ms or now_ms + wanted.timeout_ms
        request = {
            "method": wanted.method,
            "params": wanted.params,
            "oneway": wanted.oneway,
            "expirationTime": expires_ms,
            "persisted": wanted.persistent,
            "retries": wanted.retries,
            "additionalInfo": wanted.additional_info,
        }
        queued = self._change(rpc_id, device_id, RpcStatus.QUEUED, json.dumps(request))
        await self._context.writing.changes.submit([queued])
        if wanted.persistent:
            return json_answer({"rpcId": rpc_id})
        left_ms = expires_ms - self._context.clock.now_ms()
        seconds = max(0, min(wanted.timeout_ms, left_ms)) / 1000
        reached = RpcStatus.DELIVERED if wanted.oneway else RpcStatus.TIMEOUT
        rpc = await self._reached(device_id, rpc_id, RPC_RANKS[reached], seconds)
        if rpc is None:
            raise await self._timed_out(rpc_id, device_id, version)
        if rpc.status in (RpcStatus.DELIVERED, RpcStatus.SUCCESSFUL):
            text = "" if wanted.oneway else rpc.answer
            return Response(text, media_type="application/json" if text else None)
        raise ApiError(
            version.timed_out, ErrorCode.GENERAL, f"The command ended as {rpc.status}: {rpc.answer}"
        )

    async def _timed_out(self, rpc_id: str, device_id: str, version: _Version) -> ApiError:
        """What never left the queue has met no connection of the device."""
        rpc = await self._rpcs.get(rpc_id)
        error = json.dumps({"error": "the device did not answer in time"})
        await self._end(rpc_id, device_id, RpcStatus.EXPIRED, error)
        if rpc is not None and rpc.status is RpcStatus.QUEUED:
            text = "No active connection to the device"
            return ApiError(version.not_connected, ErrorCode.GENERAL, text)
        return ApiError(version.timed_out, ErrorCode.GENERAL, "Timeout: no answer in time")

    async def page(self, device_id: str, status: RpcStatus | None, page: Page) -> dict[str, Any]:
        """Raises ApiError."""
        await self._entities.known(EntityType.DEVICE, device_id)
        _, total = await self._rpcs.page(device_id, status, 1, 0)
        part = window(page, total)
        some, _ = await self._rpcs.page(device_id, status, part.limit, part.skip)
        found = some[::-1] if part.turned else some
        return page_of([_shown(rpc) for rpc in found], total, page)

    async def _reached(self, device_id: str, rpc_id: str, rank: int, seconds: float) -> Rpc | None:
        clock, changes = self._context.clock, self._context.writing.changes
        end = clock.monotonic() + seconds
        while (left := end - clock.monotonic()) > 0:
            news = changes.news_of(device_id, rpc_id)
            reached = True
            try:
                rpc = await self._rpcs.get(rpc_id)
                reached = rpc is not None and RPC_RANKS[rpc.status] >= rank
            finally:
                await news(0 if reached else min(left, _LOOK_SECONDS))
            if reached:
                return rpc
        return None

    async def get(self, rpc_id: str) -> dict[str, Any]:
        """As it stands; one whose time is over ends now. Raises ApiError."""
        rpc = await self.known(rpc_id)
        expires = json.loads(rpc.request or "{}").get("expirationTime") or 0
        over = rpc.status in RPC_OPEN
        if over and 0 < expires <= self._context.clock.now_ms():
            body = expired_body(rpc.status)
            await self._end(rpc_id, rpc.device_id, RpcStatus.EXPIRED, body)
            rpc = await self.known(rpc_id)
        return _shown(rpc)

    async def known(self, rpc_id: str) -> Rpc:
        rpc = await self._rpcs.get(rpc_id)
        elsewhere = rpc is not None and rpc.tenant_id != self._context.writing.tenant_id
        if rpc is None or elsewhere or rpc.status is RpcStatus.DELETED:
            raise ApiError(404, ErrorCode.NOT_FOUND, f"RPC with id [{rpc_id}] is not found")
        return rpc

    async def end(self, rpc: Rpc, status: RpcStatus) -> None:
        await self._end(rpc.rpc_id, rpc.device_id, status, "")

    async def _end(self, rpc_id: str, device_id: str, status: RpcStatus, body: str) -> None:
        change = self._change(rpc_id, device_id, status, body)
        await self._context.writing.changes.submit([change])

    def _change(self, rpc_id: str, device_id: str, status: RpcStatus, body: str) -> RpcChange:
        writing = self._context.writing
        return RpcChange(
            id=new_entity_id(),
            tenant_id=writing.tenant_id,
            device_id=device_id,
            rpc_id=rpc_id,
            status=status,
            origin=writing.origin,
            created_time=self._context.clock.now_ms(),
            body=body,
        )


def json_answer_text(content: Any) -> Response:
    """What devices and callers sent may hold numbers that only the standard library writes."""
    return Response(json.dumps(content), media_type="application/json")


def _shown(rpc: Rpc) -> dict[str, Any]:
    request = json.loads(rpc.request or "{}")
    answer = rpc.answer if rpc.status is not RpcStatus.SENT else ""  # that is the attempt
    return {
        "id": entity_id("RPC", rpc.rpc_id),
        "createdTime": rpc.created_time,
        "tenantId": entity_id("TENANT", rpc.tenant_id),
        "deviceId": entity_id("DEVICE", rpc.device_id),
        "expirationTime": request.get("expirationTime") or 0,
        "request": {
            "body": {"method": request.get("method"), "params": request.get("params")},
            "oneway": request.get("oneway") is True,
            "retries": request.get("retries"),
        },
        "response": json.loads(answer) if answer else None,
        "status": rpc.status.value,
        "additionalInfo": request.get("additionalInfo"),
    }
