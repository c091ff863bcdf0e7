"""gRPC's two ends of a stream as ``link.Stream``."""

import asyncio

import grpc
from google.protobuf.message import DecodeError

from edgeferry.sync.ending import SessionEnded
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.sync_pb2 import Frame, Goodbye

_USELESS_TO_RETRY = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)

# What reading or writing raises when the connection has gone.
_BROKEN = (grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError)


class CallStream:
    """The dialling end."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self._call = call

    async def read(self) -> Frame | None:
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _ended(error.code(), error.details()) from error
        if isinstance(frame, Frame):
            return frame
        code = await self._call.code()
        if code is grpc.StatusCode.OK:
            return None
        raise _ended(code, await self._call.details())

    async def write(self, frame: Frame) -> None:
        try:
            await self._call.write(frame)
        except grpc.aio.AioRpcError as error:
            raise _ended(error.code(), error.details()) from error
        except asyncio.InvalidStateError as error:  # the call is over; its status says why
            raise _ended(await self._call.code(), await self._call.details()) from error


class ContextStream:
    """The listening end."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context

    async def read(self) -> Frame | None:
        try:
            frame = await self._context.read()
        except _BROKEN as error:
            raise _lost(error) from error
        except DecodeError as error:
            raise ProtocolError("bytes that are no frame") from error
        return frame if isinstance(frame, Frame) else None

    async def write(self, frame: Frame) -> None:
        try:
            await self._context.write(frame)
        except _BROKEN as error:
            raise _lost(error) from error


def _ended(code: grpc.StatusCode, details: str | None) -> SessionEnded:
    return SessionEnded(
        Goodbye.UNSPECIFIED,
        f"{code.name}: {details or 'no reason given'}",
        retry=code not in _USELESS_TO_RETRY,
    )


def _lost(error: Exception) -> SessionEnded:
    return SessionEnded(Goodbye.UNSPECIFIED, f"connection lost: {type(error).__name__}")
