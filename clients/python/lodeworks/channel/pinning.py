"""Gets a controller's authority by its fingerprint, which a person was given on another way."""

import hashlib
import socket
import ssl
from typing import Any, Final

from lodeworks.channel.addresses import addresses_of, split_target
from lodeworks.channel.errors import ChannelError, UnreachableError, WrongServerError

_DER: Final = 2  # _ssl.ENCODING_DER


def fingerprint(ca_pem: bytes) -> str:
    """Returns the sha256 of an authority's certificate: ``sha256:`` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca_pem.decode("ascii"))).hexdigest()


def fetch_authority(target: str, *, pinned: str, timeout_s: float = 5.0) -> bytes:
    """Returns the PEM of the authority with the pinned fingerprint that the server at the address shows.

    Of several addresses the first that shows it is believed.

    Nothing that the server says is believed but this one certificate, whose digest was pinned. Blocks.

    Args:
        target: ``host:port``; several with commas between.
        pinned: sha256 in hex, with or without ``sha256:`` before it and colons in it.
        timeout_s: For each step.

    Raises:
        UnreachableError: Nobody answers.
        WrongServerError: The server shows no certificate with this fingerprint.
    """
    failures: list[ChannelError] = []
    for address in addresses_of(target):
        try:
            return _authority_at(address, pinned=pinned, timeout_s=timeout_s)
        except ChannelError as error:
            failures.append(error)
    raise failures[0]


def _authority_at(address: str, *, pinned: str, timeout_s: float) -> bytes:
    wanted = "sha256:" + pinned.lower().removeprefix("sha256:").replace(":", "")
    for der in _shown_chain(address, timeout_s=timeout_s):
        pem = ssl.DER_cert_to_PEM_cert(der).encode("ascii")
        if fingerprint(pem) == wanted:
            return pem
    raise WrongServerError(
        f"the server at {address} does not belong to the authority {pinned}; check address and fingerprint",
        target=address,
    )


def _shown_chain(target: str, *, timeout_s: float) -> list[bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The chain is judged by its fingerprint afterwards; there is no authority yet to judge it by.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(split_target(target), timeout=timeout_s) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return _chain_of(secured)
    except ssl.SSLError as error:
        raise WrongServerError(
            f"the server at {target} does not speak TLS ({error.reason or error}); check address and port",
            target=target,
        ) from error
    except OSError as error:
        raise UnreachableError(
            f"nobody answers at {target} ({error.strerror or error}); check that the controller runs",
            target=target,
        ) from error


def _chain_of(secured: Any) -> list[bytes]:
    """The chain as the server sent it; public only since Python 3.13, there before."""
    if hasattr(secured, "get_unverified_chain"):
        return list(secured.get_unverified_chain())
    return [certificate.public_bytes(_DER) for certificate in secured._sslobj.get_unverified_chain()]  # noqa: SLF001
