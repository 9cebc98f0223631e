"""The certificate authority of one installation.

P-256 throughout: grpcio fails with Ed25519 certificates. The authority signs the server's certificate, which carries
the fixed name ``lodeworks-controller`` beside its host names, and certificates of agents, which carry nothing but the
URI ``lodeworks:worker/<id>`` or ``lodeworks:device/<id>`` and are good for client authentication only.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.identity import AgentIdentity
from lodeworks_controller.errors import InvalidError, UnauthenticatedError
from lodeworks_controller.service.enrolment import IssuedCertificate, ShownCertificate
from lodeworks_controller.trust.key_file import write_durably, write_private

SERVER_NAME: Final = "lodeworks-controller"
"""The name by which agents and clients recognise the controller at any address (`lodeworks.channel.dial`)."""

AGENT_VALIDITY: Final = timedelta(days=90)
SERVER_VALIDITY: Final = timedelta(days=365)
AUTHORITY_VALIDITY: Final = timedelta(days=3650 * 2)

_BACKDATED: Final = timedelta(days=1)  # clocks of agents are behind now and then


class CertificateAuthority:
    """Signs certificates with the installation's key.

    Args:
        key: The authority's key.
        certificate: The authority's certificate.
        clock: The present moment.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, *, clock: Clock) -> None:
        self._key = key
        self._certificate = certificate
        self._clock = clock

    @staticmethod
    def create(folder: Path, *, clock: Clock) -> "CertificateAuthority":
        """Makes the authority in a folder; one that is there is loaded instead."""
        if (folder / "authority.pem").exists():
            return CertificateAuthority.load(folder, clock=clock)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lodeworks installation authority")])
        now = clock()
        certificate = (
            x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + AUTHORITY_VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(folder / "authority.key", _key_pem(key))
        # The certificate comes last: its presence says that the authority is complete.
        write_durably(folder / "authority.pem", _pem(certificate))
        return CertificateAuthority(key, certificate, clock=clock)

    @staticmethod
    def load(folder: Path, *, clock: Clock) -> "CertificateAuthority":
        """Loads the authority of a folder. Raises FileNotFoundError."""
        key = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        certificate = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
        return CertificateAuthority(key, certificate, clock=clock)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate."""
        return _pem(self._certificate)

    @property
    def fingerprint(self) -> str:
        """What people compare and pin: ``sha256:`` and 64 hex digits."""
        return "sha256:" + self._certificate.fingerprint(hashes.SHA256()).hex()

    def key_id(self, csr_pem: bytes) -> str:
        """Returns the sha256 of the key in a signing request; raises InvalidError CSR_INVALID."""
        return _key_id(_requested_key(csr_pem))

    def sign(self, csr_pem: bytes, identity: AgentIdentity) -> IssuedCertificate:
        """Issues an agent's certificate. Of the request only the key counts: names are ours to give."""
        public_key = _requested_key(csr_pem)
        certificate = self._issue(
            public_key,
            common_name=f"{identity.kind.value} {identity.id}",
            names=[x509.UniformResourceIdentifier(identity.uri)],
            purpose=ExtendedKeyUsageOID.CLIENT_AUTH,
            validity=AGENT_VALIDITY,
        )
        return IssuedCertificate(
            pem=_pem(certificate),
            serial=f"{certificate.serial_number:x}",
            key_id=_key_id(public_key),
            expires_at=certificate.not_valid_after_utc,
        )

    def prove(self, certificate_pem: bytes, *, message: bytes, signature: bytes) -> ShownCertificate:
        """Checks that we issued the certificate, whether or not it has ended, and that its key signed the message.

        The signature is ECDSA with SHA-256, DER. Raises UnauthenticatedError PROOF_INVALID.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            certificate.verify_directly_issued_by(self._certificate)
            identity = _identity(certificate)
            public_key = certificate.public_key()
            if identity is None or not isinstance(public_key, ec.EllipticCurvePublicKey):
                raise _bad_proof()
            public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
            raise _bad_proof() from error
        return ShownCertificate(identity, _key_id(public_key))

    def issue_server(self, names: Sequence[str]) -> tuple[bytes, bytes]:
        """Issues a certificate for the listeners; returns chain and key as PEM.

        The chain ends with the authority itself, so that a client with nothing but its fingerprint can find it there.

        Args:
            names: Host names and IP addresses, beside the ones that every controller has.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(
            key.public_key(),
            common_name=SERVER_NAME,
            names=[
                _general_name(name) for name in dict.fromkeys([SERVER_NAME, "localhost", "127.0.0.1", "::1", *names])
            ],
            purpose=ExtendedKeyUsageOID.SERVER_AUTH,
            validity=SERVER_VALIDITY,
        )
        return _pem(certificate) + self.certificate_pem, _key_pem(key)

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        *,
        common_name: str,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        validity: timedelta,
    ) -> x509.Certificate:
        now = self._clock()
        end = min(now + validity, self._certificate.not_valid_after_utc)
        return (
            x509.CertificateBuilder(
                issuer_name=self._certificate.subject,
                subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]),
                public_key=public_key,
            )
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def expiry_of(certificate_pem: bytes) -> tuple[datetime, datetime]:
    """Returns begin and end of the first certificate in a PEM file."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def names_of(certificate_pem: bytes) -> set[str]:
    """Returns the host names and addresses of the first certificate in a PEM file."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def _requested_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    refusal = InvalidError(
        "CSR_INVALID", "not a signing request of a P-256 key; make one with the agent's own enrol", field="csr_pem"
    )
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        valid = csr.is_signature_valid
    except (ValueError, TypeError) as error:
        raise refusal from error
    key = csr.public_key()
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise refusal
    return key


def _identity(certificate: x509.Certificate) -> AgentIdentity | None:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return AgentIdentity.from_uri(uris[0]) if len(uris) == 1 else None


def _bad_proof() -> UnauthenticatedError:
    return UnauthenticatedError(
        "PROOF_INVALID", "the signature does not prove the key of a certificate of this installation; enrol again"
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
