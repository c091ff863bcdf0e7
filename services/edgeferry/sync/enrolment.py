"""Before an Edge keeps what it was given to join a Cloud: is it right?"""

import asyncio
import contextlib
from dataclasses import dataclass

import grpc

from edgeferry.core.errors import Stop
from edgeferry.runtime.settings import SyncSettings
from edgeferry.runtime.tls_pins import (
    Trust,
    Unreachable,
    Untrusted,
    check_dates,
    pinned,
    presented_chain,
    split_address,
)
from edgeferry.sync import handshake
from edgeferry.sync.ending import SessionEnded, expect
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.streams import CallStream
from edgeferry.sync.sync_pb2 import Frame, Hello

_ANSWER_SECONDS = 15.0


class NotEnrolled(Stop):
    """The Cloud does not take this Edge; the text says which of the given is wrong."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """What the Cloud calls this Edge."""

    edge_id: str
    edge_name: str


async def ask_the_cloud(settings: SyncSettings, secret: str, now_ms: int) -> Welcomed:
    """A handshake as the Edge would make it, and no more: nothing is sent, nothing is kept.
    Raises NotEnrolled."""
    try:
        return await _asked(settings, secret, now_ms)
    except Unreachable as error:
        raise NotEnrolled(
            f"{error}: check the Cloud's address and that it runs; --offline enrols without it"
        ) from error
    except (Untrusted, ProtocolError, SessionEnded) as error:
        raise NotEnrolled(str(error)) from error
    except TimeoutError as error:
        raise NotEnrolled(
            f"the Cloud at {settings.address} has not answered within {_ANSWER_SECONDS:.0f} s: "
            "try again, or enrol without it by --offline"
        ) from error


async def _asked(settings: SyncSettings, secret: str, now_ms: int) -> Welcomed:
    host, port = split_address(settings.address)
    chain = await presented_chain(host, port)
    if settings.fingerprint:
        trust = pinned(chain, settings.fingerprint, host, now_ms)
    else:
        check_dates(chain, host, now_ms)
        trust = Trust(settings.ca_file.read_bytes() if settings.ca_file else None)
    async with handshake.channel(settings, trust) as channel:
        call = channel.stream_stream(
            handshake.METHOD,
            request_serializer=Frame.SerializeToString,
            response_deserializer=Frame.FromString,
        )()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await _greeted(CallStream(call), settings, secret)
        except SessionEnded as ended:
            raise await _explained(call, ended, settings) from ended
        finally:
            call.cancel()


async def _greeted(stream: CallStream, settings: SyncSettings, secret: str) -> Welcomed:
    hello = Hello(
        version=handshake.VERSION,
        edge_key=settings.edge_key,
        secret=secret,
        schemas=handshake.schemas_to_wire(handshake.our_schemas()),
    )
    with contextlib.suppress(SessionEnded):  # its reason is told by the read
        await stream.write(Frame(hello=hello))
    welcome = (await expect(stream, "welcome")).welcome
    return Welcomed(welcome.edge_id, welcome.edge_name)


async def _explained(
    call: grpc.aio.StreamStreamCall, ended: SessionEnded, settings: SyncSettings
) -> NotEnrolled:
    code, details = await call.code(), await call.details() or ""
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details:
        if settings.fingerprint:
            return NotEnrolled(
                f"the certificate at {settings.address} is not signed by what its fingerprint "
                "stands for: someone in between, or a chain in the wrong order"
            )
        return NotEnrolled(
            f"the certificate of {settings.address} is not one that everybody trusts for this "
            "name: give the --fingerprint that the Cloud prints"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED or "http2" in details.lower():
        return NotEnrolled(
            f"what answers at {settings.address} is not the sync port of an Edgeferry Cloud: "
            "the Cloud prints the address for Edges"
        )
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.FAILED_PRECONDITION):
        return NotEnrolled(f"the Cloud at {settings.address} refuses: {details}")
    return NotEnrolled(f"the Cloud at {settings.address} does not welcome this Edge: {ended}")
