"""The two servers: people and enrolment on one port, agents with their certificates on the other.

Both stand in one event loop; each has its own services only, so that a foreign rpc is UNIMPLEMENTED.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio
from grpc_reflection.v1alpha import reflection
from lodeworks.channel.freed_memory import keep_freed_memory
from lodeworks.channel.keepalive import SERVER_OPTIONS

from lodeworks_controller.errors import ConflictError
from lodeworks_controller.service.meter import Meter
from lodeworks_controller.transport.outermost import OutermostInterceptor

Register = Callable[[grpc.aio.Server], None]
"""Adds a service to a server: ``lambda server: add_XServicer_to_server(servicer, server)``."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A server that listens.

    Attributes:
        server: The server.
        port: The port it got; another than asked for when that was 0.
        health: Answers grpc.health.v1.
    """

    server: grpc.aio.Server
    port: int
    health: Any

    async def serve(self) -> None:
        """Says to those who ask for the health of the server that it serves; until then it does not."""
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def refuse(self) -> None:
        """Says for good that it serves no longer, while what runs goes on: a balancer sends new callers elsewhere."""
        await self.health.enter_graceful_shutdown()

    async def stop(self, *, grace_s: float) -> None:
        """Refuses new calls, lets running ones end within the grace, then ends them."""
        await self.server.stop(grace_s)


async def listen_for_people(
    address: str,
    *,
    chain_pem: bytes,
    key_pem: bytes,
    services: Sequence[Register],
    logger: logging.Logger,
    meter: Meter | None = None,
) -> Listener:
    """Starts the server for people and enrolment: TLS that authenticates the server; callers show bearer tokens.

    Args:
        address: ``host:port``; port 0 takes a free one.
        chain_pem: The server's certificate and the authority.
        key_pem: Its key.
        services: What it serves.
        logger: Where faults go.
        meter: Where measurements go.
    """
    return await _listen(address, grpc.ssl_server_credentials([(key_pem, chain_pem)]), services, logger, meter)


async def listen_for_agents(
    address: str,
    *,
    chain_pem: bytes,
    key_pem: bytes,
    ca_pem: bytes,
    services: Sequence[Register],
    logger: logging.Logger,
    meter: Meter | None = None,
) -> Listener:
    """Starts the server for workers and devices: TLS on both sides, by the installation's own authority only.

    Args:
        address: ``host:port``; port 0 takes a free one.
        chain_pem: The server's certificate and the authority.
        key_pem: Its key.
        ca_pem: The authority that signed the agents' certificates.
        services: What it serves.
        logger: Where faults go.
        meter: Where measurements go.
    """
    credentials = grpc.ssl_server_credentials(
        [(key_pem, chain_pem)], root_certificates=ca_pem, require_client_auth=True
    )
    return await _listen(address, credentials, services, logger, meter)


async def _listen(
    address: str,
    credentials: grpc.ServerCredentials,
    services: Sequence[Register],
    logger: logging.Logger,
    meter: Meter | None,
) -> Listener:
    interceptor = OutermostInterceptor(logger, meter=meter)
    keep_freed_memory()
    server = grpc.aio.server(interceptors=[interceptor], options=SERVER_OPTIONS)
    names = _Names(server)
    for register in services:
        register(cast("grpc.aio.Server", names))
    health = aio.HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, names)
    reflection.enable_server_reflection([*names.found, reflection.SERVICE_NAME], server)
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise _port_in_use(address) from error
    if port == 0:
        raise _port_in_use(address)
    await server.start()
    return Listener(server, port, health)


class _Names:
    """A server that remembers the names of the services it is given: reflection lists them."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.found: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Adds a service in the old way."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(
        self, service: str, handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Adds a service, and remembers its name."""
        self.found.append(service)
        self._server.add_registered_method_handlers(service, handlers)


def _port_in_use(address: str) -> ConflictError:
    return ConflictError(
        "PORT_IN_USE",
        f"{address} cannot be listened on; another program has the port or the address is not this machine's: "
        "stop it, or choose another with --listen or --listen-agents",
        address=address,
    )
