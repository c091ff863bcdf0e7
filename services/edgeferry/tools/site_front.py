"""What of a site listens for devices and people."""

import logging
import os
from collections.abc import Sequence

import click
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from edgeferry.api.app import build_api
from edgeferry.api.auth import open_auth
from edgeferry.api.context import ApiContext, Writing
from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import MessageIds
from edgeferry.gateway.command_feed import CommandFeed
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.kept_commands import KeptCommands
from edgeferry.gateway.known_devices import KnownDevices
from edgeferry.gateway.metrics import PrometheusGatewayMetrics
from edgeferry.gateway.nested_devices import NestedByChanges
from edgeferry.gateway.ports import DevicePorts
from edgeferry.gateway.provision_profiles import ProvisionProfiles
from edgeferry.gateway.provisioned_devices import ProvisionedByChanges
from edgeferry.gateway.provisioning import Provisioning
from edgeferry.gateway.secure import SecureListener, secure_listener
from edgeferry.gateway.server import Gateway
from edgeferry.gateway.stamps import StampKeeper
from edgeferry.gateway.stored import StoredDevices
from edgeferry.gateway.stored_states import StoredStates
from edgeferry.runtime.connection_bound import Bounds
from edgeferry.runtime.file_limit import connections_allowed
from edgeferry.runtime.http import HttpLimits, HttpServer, secure_context
from edgeferry.runtime.probes import Probes, process_app
from edgeferry.runtime.service import Service
from edgeferry.runtime.settings import ListenSettings, MqttTlsSettings, Settings
from edgeferry.tools.carry_over import CarryOver
from edgeferry.tools.listed_edges import ListedEdges
from edgeferry.tools.site_outbox import disk_watch
from edgeferry.tools.site_shared import Shared
from edgeferry.tools.site_wanted import Wanted
from edgeferry.tools.topics import wanted_topics

log = logging.getLogger(__name__)

_HTTP_CONNECTIONS = 10_000


def front(shared: Shared, wanted: Wanted, shown: Sequence[BaseRoute] = ()) -> list[Service]:
    """What listens for devices and people, started last and stopped first."""
    settings, front = shared.settings, list[Service]()
    routes: Sequence[BaseRoute] = ()
    rest: ASGIApp | None = None
    if wanted.gateway:
        context, positions = _gateway_context(shared), shared.store.positions
        gateway = Gateway(
            context,
            host=settings.mqtt.host,
            port=settings.mqtt.port,
            secure=_secure(settings.mqtt.tls),
            bounds=Bounds.of_logins(_mqtt_connections(settings)),
        )
        front += disk_watch(settings, shared.admission, shared.metrics)
        front.append(StampKeeper(context, reader=shared.log.reader, positions=positions))
        front += [*_carry_over(shared), gateway, _command_feed(shared, gateway)]
        routes = http_routes(gateway)
    if wanted.api:
        rest = build_api(_api_context(shared))
    probes = Probes(
        health=shared.board.overall,
        metrics=shared.metrics,
        read_token=settings.api.read_token.get_secret_value(),
    )
    app = process_app(probes, device_routes=[*shown, *routes], rest=rest)
    limits = HttpLimits(connections=min(_HTTP_CONNECTIONS, connections_allowed() // 4))
    turned_away = shared.metrics.http_turned_away
    servers = [HttpServer(app, settings.http, limits=limits, turned_away=turned_away)]
    tls, secret = settings.http.tls, secure_context(settings.http.tls)
    if secret is not None:
        listen = ListenSettings(host=tls.host, port=tls.port)
        secure = HttpServer(
            app, listen, option="http.tls", tls=secret, limits=limits, turned_away=turned_away
        )
        servers.insert(0, secure)
    return [*front, *servers]


def _mqtt_connections(settings: Settings) -> int:
    """As many as are wanted, where the process may open so many files."""
    wanted, possible = settings.mqtt.connections, 3 * connections_allowed() // 4
    if wanted > possible:
        log.warning(
            "mqtt.connections is %d, but at most %d are taken: the system lets this process "
            "open few files. Raise its limit (ulimit -n)",
            wanted, possible,
        )  # fmt: skip
    return min(wanted, possible)


def _secure(tls: MqttTlsSettings) -> SecureListener | None:
    """Raises InvalidSettings."""
    if tls.cert is None and tls.key is None and tls.client_ca is None:
        return None
    if tls.cert is None or tls.key is None:
        raise InvalidSettings(
            "mqtt.tls.cert and mqtt.tls.key go together, and mqtt.tls.client_ca with them: set "
            "both, or none"
        )
    return secure_listener(tls.host, tls.port, tls.cert, tls.key, tls.client_ca)


def _carry_over(shared: Shared) -> list[CarryOver]:
    if shared.settings.devices_file is None:
        return []
    return [
        CarryOver(
            file=shared.settings.devices_file,
            tenant_id=shared.settings.tenant_id,
            origin=shared.here.origin,
            entities=shared.store.entities,
            changes=shared.changes,
            clock=shared.clock,
        )
    ]


def _command_feed(shared: Shared, gateway: Gateway) -> CommandFeed:
    return CommandFeed(
        site=shared.site,
        service_id=gateway.api.service_id,
        reader=shared.log.reader,
        sessions=gateway.api.sessions,
        push_command=gateway.api.push_command,
        devices=gateway.context.devices,
    )


def _gateway_context(shared: Shared) -> GatewayContext:
    settings = shared.settings
    return GatewayContext(
        site=shared.site,
        tenant_id=settings.tenant_id,
        writer=shared.log.writer,
        devices=KnownDevices(keys=StoredDevices(shared.store.entities), clock=shared.clock),
        clock=shared.clock,
        stamps=shared.stamps,
        ids=MessageIds(),
        limits=settings.limits,
        metrics=PrometheusGatewayMetrics(shared.registry),
        admission=shared.admission,
        rates=settings.limits,
        ports=DevicePorts(
            attributes=shared.store.attributes,
            commands=KeptCommands(
                rpcs=shared.store.rpcs,
                changes=shared.changes,
                tenant_id=settings.tenant_id,
                origin=shared.here.origin,
                clock=shared.clock,
            ),
            nested=NestedByChanges(
                entities=shared.store.entities,
                changes=shared.changes,
                tenant_id=settings.tenant_id,
                origin=shared.here.origin,
                clock=shared.clock,
            ),
            states=StoredStates(
                entities=shared.store.entities,
                attributes=shared.store.attributes,
                tenant_id=settings.tenant_id,
            ),
            provisioner=_provisioner(shared),
        ),
        state_rules=settings.states,
        origin=shared.here.origin,
        devices_per_gateway=settings.limits.devices_per_gateway,
    )


def _provisioner(shared: Shared) -> Provisioning | None:
    """Raises InvalidSettings."""
    if shared.settings.provisioning_file is None:
        return None
    maker = ProvisionedByChanges(
        entities=shared.store.entities,
        attributes=shared.store.attributes,
        changes=shared.changes,
        tenant_id=shared.settings.tenant_id,
        origin=shared.here.origin,
        clock=shared.clock,
    )
    profiles = ProvisionProfiles(shared.settings.provisioning_file)
    return Provisioning(profiles=profiles, maker=maker, clock=shared.clock)


def _api_context(shared: Shared) -> ApiContext:
    settings = shared.settings
    opened = open_auth(
        settings.data,
        settings.api,
        shared.clock,
        tenant_id=settings.tenant_id,
        admin_password=os.environ.get("EDGEFERRY_ADMIN_PASSWORD"),
    )
    if opened.administrator.password is not None:
        click.echo(
            f"administrator {opened.administrator.username}, password in "
            f"{opened.administrator.password_file}",
            err=True,
        )
    return ApiContext(
        store=shared.store,
        auth=opened.auth,
        clock=shared.clock,
        writing=Writing(
            site=shared.site,
            tenant_id=settings.tenant_id,
            origin=shared.here.origin,
            changes=shared.changes,
            writer=shared.log.writer,
            stamps=shared.stamps,
            limits=settings.limits,
            edges=_admitted(settings),
        ),
        topics={topic.name: topic.value for topic in wanted_topics(settings)},
        read_token=settings.api.read_token.get_secret_value(),
        reader=shared.log.reader if settings.role == "edge" else None,
    )


def _admitted(settings: Settings) -> ListedEdges | None:
    file = settings.sync.edges_file
    return ListedEdges(file) if settings.role == "cloud" and file is not None else None
