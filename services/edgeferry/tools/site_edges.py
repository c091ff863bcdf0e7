"""How far the lanes of every edge are, as the Cloud's sync shows it."""

from dataclasses import asdict

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edgeferry.core.errors import InvalidSettings, StoreUnavailable
from edgeferry.runtime.read_access import may_read, refused_reader
from edgeferry.sync.cloud import CloudSync


def edges_route(sync: CloudSync, read_token: str) -> Route:
    """GET /edges, for whom /metrics is: connected or not; of each lane made, sent, received,
    acked and applied positions (null: not known), depth, the age of the oldest that
    waits (ms), events per second, lost. sending_all: a store was lost, and the edge gets all
    that is assigned to it again."""

    async def show(request: Request) -> Response:
        if not may_read(request, read_token):
            return refused_reader()
        try:
            edges = await sync.edges()
        except (StoreUnavailable, InvalidSettings) as error:
            return PlainTextResponse(str(error), 503, {"Retry-After": "2"})
        rows = [asdict(edge) for edge in edges]
        return Response(orjson.dumps({"edges": rows}), media_type="application/json")

    return Route("/edges", show)
