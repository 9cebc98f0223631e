"""Enrolment: a one-time token becomes a certificate, a certificate becomes a newer one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.identity import AgentIdentity


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that the authority signed.

    Attributes:
        pem: The certificate.
        serial: Its serial number in hex.
        key_id: sha256 of its public key (SubjectPublicKeyInfo), hex.
        expires_at: Its end.
    """

    pem: bytes
    serial: str
    key_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """A certificate of ours that somebody showed together with proof of its key; it may have ended."""

    identity: AgentIdentity
    key_id: str


class Authority(Protocol):
    """Signs certificates of agents."""

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate."""
        ...

    def key_id(self, csr_pem: bytes) -> str:
        """Returns the sha256 of the key in a signing request; raises InvalidError CSR_INVALID."""
        ...

    def sign(self, csr_pem: bytes, identity: AgentIdentity) -> IssuedCertificate:
        """Issues a certificate for the key of a signing request; raises InvalidError CSR_INVALID."""
        ...

    def prove(self, certificate_pem: bytes, *, message: bytes, signature: bytes) -> ShownCertificate:
        """Checks that we issued the certificate and that its key signed the message.

        Raises UnauthenticatedError PROOF_INVALID.
        """
        ...
