"""The two servers: people and enrolment on one port, agents with their certificates on the other.

Both stand in one event loop; each has its own services only, so that a foreign rpc is UNIMPLEMENTED.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from lodeworks.channel.keepalive import SERVER_OPTIONS

from lodeworks_controller.errors import ConflictError
from lodeworks_controller.transport.outermost import OutermostInterceptor

Register = Callable[[grpc.aio.Server], None]
"""Adds a service to a server: ``lambda server: add_XServicer_to_server(servicer, server)``."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A server that listens.

    Attributes:
        server: The server.
        port: The port it got; another than asked for when that was 0.
    """

    server: grpc.aio.Server
    port: int

    async def stop(self, *, grace_s: float) -> None:
        """Refuses new calls, lets running ones end within the grace, then ends them."""
        await self.server.stop(grace_s)


async def listen_for_people(
    address: str, *, chain_pem: bytes, key_pem: bytes, services: Sequence[Register], logger: logging.Logger
) -> Listener:
    """Starts the server for people and enrolment: TLS that authenticates the server; callers show bearer tokens.

    Args:
        address: ``host:port``; port 0 takes a free one.
        chain_pem: The server's certificate and the authority.
        key_pem: Its key.
        services: What it serves.
        logger: Where faults go.
    """
    return await _listen(address, grpc.ssl_server_credentials([(key_pem, chain_pem)]), services, logger)


async def listen_for_agents(
    address: str,
    *,
    chain_pem: bytes,
    key_pem: bytes,
    ca_pem: bytes,
    services: Sequence[Register],
    logger: logging.Logger,
) -> Listener:
    """Starts the server for workers and devices: TLS on both sides, by the installation's own authority only.

    Args:
        address: ``host:port``; port 0 takes a free one.
        chain_pem: The server's certificate and the authority.
        key_pem: Its key.
        ca_pem: The authority that signed the agents' certificates.
        services: What it serves.
        logger: Where faults go.
    """
    credentials = grpc.ssl_server_credentials(
        [(key_pem, chain_pem)], root_certificates=ca_pem, require_client_auth=True
    )
    return await _listen(address, credentials, services, logger)


async def _listen(
    address: str, credentials: grpc.ServerCredentials, services: Sequence[Register], logger: logging.Logger
) -> Listener:
    server = grpc.aio.server(interceptors=[OutermostInterceptor(logger)], options=SERVER_OPTIONS)
    for register in services:
        register(server)
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise _port_in_use(address) from error
    if port == 0:
        raise _port_in_use(address)
    await server.start()
    return Listener(server, port)


def _port_in_use(address: str) -> ConflictError:
    return ConflictError(
        "PORT_IN_USE",
        f"{address} cannot be listened on; another program has the port or the address is not this machine's: "
        "stop it, or choose another with --listen or --listen-agents",
        address=address,
    )
