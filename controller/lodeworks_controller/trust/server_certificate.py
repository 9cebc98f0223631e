"""The certificate of the listeners: made once, kept, renewed at half its life or when its names change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.trust.authority import CertificateAuthority, expiry_of, names_of
from lodeworks_controller.trust.key_file import write_private

_KEY_BEGIN: Final = b"-----BEGIN PRIVATE KEY-----"


def server_certificate(
    folder: Path, *, authority: CertificateAuthority, names: Sequence[str], clock: Clock
) -> tuple[bytes, bytes]:
    """Returns chain and key (PEM) for the listeners; called at each start.

    Args:
        folder: Where ``server.pem`` lies.
        authority: Who signs.
        names: Host names and IP addresses under which people reach the controller.
        clock: The present moment.
    """
    path = folder / "server.pem"
    if path.exists():
        chain_pem, marker, key = path.read_bytes().partition(_KEY_BEGIN)
        if marker and _still_good(chain_pem, names=names, authority=authority, clock=clock):
            return chain_pem, marker + key
    chain_pem, key_pem = authority.issue_server(names)
    write_private(path, chain_pem + key_pem)
    return chain_pem, key_pem


def _still_good(chain_pem: bytes, *, names: Sequence[str], authority: CertificateAuthority, clock: Clock) -> bool:
    begin, end = expiry_of(chain_pem)
    return (
        chain_pem.endswith(authority.certificate_pem)
        and set(names) <= names_of(chain_pem)
        and begin <= clock() < begin + (end - begin) / 2
    )
