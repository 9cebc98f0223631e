"""Opens channels to a controller: server-authenticated for people, mutual for agents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio

from lodeworks.channel.addresses import channel_target
from lodeworks.channel.keepalive import CLIENT_OPTIONS

SERVER_NAME: Final = "lodeworks-controller"
"""The name that every controller's certificate carries beside its host names.

The authority is pinned and signs this name for nobody else, so a controller is recognised at whatever address it is
reached: behind NAT, on a changed IP, through a tunnel.
"""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What an agent shows of itself: the certificate chain and its private key, both PEM."""

    chain_pem: bytes
    key_pem: bytes


def dial(
    target: str,
    *,
    ca_pem: bytes,
    token: str | None = None,
    certificate: ClientCertificate | None = None,
    server_name: str = SERVER_NAME,
    options: Sequence[tuple[str, int | str]] = (),
) -> grpc.aio.Channel:
    """Returns an asyncio channel; nothing is sent before the first call.

    Args:
        target: ``host:port``; several with commas between stand in for each other (`addresses`).
        ca_pem: The pinned authority; no other one is believed.
        token: Bearer token of a person or a program of theirs.
        certificate: Client certificate of a worker or device, for the port of the agents.
        server_name: The name that the server's certificate must carry.
        options: Further channel arguments.
    """
    return grpc.aio.secure_channel(
        channel_target(target),
        _credentials(ca_pem, token=token, certificate=certificate),
        options=_options(server_name, options),
    )


def dial_sync(
    target: str,
    *,
    ca_pem: bytes,
    token: str | None = None,
    certificate: ClientCertificate | None = None,
    server_name: str = SERVER_NAME,
    options: Sequence[tuple[str, int | str]] = (),
) -> grpc.Channel:
    """Returns a blocking channel with the same arguments as `dial`."""
    return grpc.secure_channel(
        channel_target(target),
        _credentials(ca_pem, token=token, certificate=certificate),
        options=_options(server_name, options),
    )


def _credentials(ca_pem: bytes, *, token: str | None, certificate: ClientCertificate | None) -> grpc.ChannelCredentials:
    transport = grpc.ssl_channel_credentials(
        root_certificates=ca_pem,
        private_key=certificate.key_pem if certificate else None,
        certificate_chain=certificate.chain_pem if certificate else None,
    )
    if token is None:
        return transport
    return grpc.composite_channel_credentials(transport, grpc.access_token_call_credentials(token))


def _options(server_name: str, options: Sequence[tuple[str, int | str]]) -> list[tuple[str, int | str]]:
    # The later one of two with the same name counts.
    chosen: dict[str, int | str] = dict(CLIENT_OPTIONS)
    chosen["grpc.ssl_target_name_override"] = server_name
    chosen.update(options)
    return list(chosen.items())
