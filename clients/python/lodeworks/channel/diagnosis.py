"""Tells why a connection failed, where grpc only says UNAVAILABLE "Socket closed".

After the first such failure the address is dialled once with Python's own ssl. A certificate that does not verify is a
wrong server; a connection that ends where the HTTP/2 SETTINGS should come is a client certificate that was refused
(with TLS 1.3 the refusal arrives after the handshake).
"""

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc

from lodeworks.channel.addresses import addresses_of, split_target
from lodeworks.channel.dial import SERVER_NAME, ClientCertificate
from lodeworks.channel.errors import CertificateRefusedError, ChannelError, UnreachableError, WrongServerError

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAME_HEADER_BYTES: Final = 9
_SETTINGS: Final = 4


async def explain(
    error: grpc.RpcError,
    *,
    target: str,
    ca_pem: bytes,
    certificate: ClientCertificate | None = None,
    server_name: str = SERVER_NAME,
) -> ChannelError | None:
    """Returns what stands behind a transport failure; None if the rpc was answered or the address is in order now."""
    code = getattr(error, "code", None)
    if code is None or code() is not grpc.StatusCode.UNAVAILABLE:
        return None
    found = [
        await asyncio.to_thread(probe, one, ca_pem=ca_pem, certificate=certificate, server_name=server_name)
        for one in addresses_of(target)
    ]
    if None in found:
        return None
    # That one controller of several is away explains less than what another of them said.
    return next((cause for cause in found if not isinstance(cause, UnreachableError)), found[0])


def probe(
    target: str,
    *,
    ca_pem: bytes,
    certificate: ClientCertificate | None = None,
    server_name: str = SERVER_NAME,
    timeout_s: float = 5.0,
) -> ChannelError | None:
    """Dials the address once with plain ssl; returns what is wrong with it, or None."""
    try:
        context = _context(ca_pem, certificate)
        with (
            socket.create_connection(split_target(target), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=server_name) as secured,
        ):
            return _first_frame(secured, target=target, certified=certificate is not None)
    except ssl.SSLCertVerificationError as error:
        return WrongServerError(
            f"the server at {target} is not the controller whose authority is pinned ({error.verify_message}); "
            "check the address, or enrol with this controller",
            target=target,
        )
    except ssl.SSLError as error:
        return WrongServerError(
            f"the server at {target} does not speak TLS as a controller does ({error.reason or error}); "
            "check address and port",
            target=target,
        )
    except OSError as error:
        return UnreachableError(
            f"nobody answers at {target} ({error.strerror or error}); check the address and that the controller runs",
            target=target,
        )


def _first_frame(secured: ssl.SSLSocket, *, target: str, certified: bool) -> ChannelError | None:
    """Speaks as much HTTP/2 as it takes to see whether the server goes on."""
    try:
        secured.sendall(_PREFACE)
        header = secured.recv(_FRAME_HEADER_BYTES)
    except TimeoutError:
        raise
    except (ssl.SSLError, ConnectionError):
        header = b""
    if len(header) == _FRAME_HEADER_BYTES and header[3] == _SETTINGS:
        return None
    if header:
        return WrongServerError(f"the server at {target} does not speak HTTP/2; check the port", target=target)
    if certified:
        return CertificateRefusedError(
            f"the controller at {target} refused our certificate; it expired or was revoked: renew it, or enrol again",
            target=target,
        )
    return CertificateRefusedError(
        f"the controller at {target} asks for a client certificate; that is the port of workers and devices",
        target=target,
    )


def _context(ca_pem: bytes, certificate: ClientCertificate | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        with _on_disk(certificate) as path:
            context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _on_disk(certificate: ClientCertificate) -> Iterator[Path]:
    """Python's ssl takes a key only from a file; it exists for the moment of the loading, for the owner alone."""
    handle, name = tempfile.mkstemp(suffix=".pem")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate.key_pem + b"\n" + certificate.chain_pem)
        yield path
    finally:
        path.unlink()
