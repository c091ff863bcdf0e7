"""Real Kafka and Cassandra as local processes, without containers."""

from edgeferry.tools.servers.command import servers
from edgeferry.tools.servers.local import LocalServers
from edgeferry.tools.servers.server import LocalServer, ServerOptions

__all__ = ["LocalServer", "LocalServers", "ServerOptions", "servers"]
