"""The authority: what it signs, what it refuses to sign, and whom it recognises."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from lodeworks_controller.domain.identity import AgentIdentity, AgentKind
from lodeworks_controller.errors import InvalidError, UnauthenticatedError
from lodeworks_controller.trust.authority import CertificateAuthority
from lodeworks_controller.trust.server_certificate import server_certificate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORKER = AgentIdentity(AgentKind.WORKER, "01hzy0000000000000000000aa")


class Hands:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def authority(tmp_path: Path, clock: Callable[[], datetime]) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path / "ca", clock=clock)


def csr_of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, algorithm)
    return csr.public_bytes(serialization.Encoding.PEM)


def test_loading_gives_the_same_authority(authority: CertificateAuthority, tmp_path: Path, clock: Hands) -> None:
    again = CertificateAuthority.create(tmp_path / "ca", clock=clock)

    assert again.fingerprint == authority.fingerprint
    assert (tmp_path / "ca" / "authority.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "ca").stat().st_mode & 0o077 == 0


def test_agent_certificate_says_who_and_nothing_else(authority: CertificateAuthority) -> None:
    issued = authority.sign(csr_of(ec.generate_private_key(ec.SECP256R1())), WORKER)

    certificate = x509.load_pem_x509_certificate(issued.pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["lodeworks:worker/01hzy0000000000000000000aa"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.expires_at == NOW + timedelta(days=90)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))


@pytest.mark.parametrize(
    "csr",
    [
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        csr_of(ed25519.Ed25519PrivateKey.generate()),
        csr_of(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["empty", "garbage", "ed25519", "p384"],
)
def test_only_requests_of_p256_keys_are_signed(authority: CertificateAuthority, csr: bytes) -> None:
    with pytest.raises(InvalidError) as caught:
        authority.sign(csr, WORKER)

    assert caught.value.reason == "CSR_INVALID"


def test_request_with_broken_signature_is_refused(authority: CertificateAuthority) -> None:
    der = bytearray(
        x509.load_pem_x509_csr(csr_of(ec.generate_private_key(ec.SECP256R1()))).public_bytes(serialization.Encoding.DER)
    )
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)

    with pytest.raises(InvalidError):
        authority.sign(broken, WORKER)


def test_ended_certificate_still_proves_its_key(authority: CertificateAuthority, clock: Hands) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.sign(csr_of(key), WORKER)
    clock.now += timedelta(days=400)

    shown = authority.prove(issued.pem, message=b"renew", signature=key.sign(b"renew", ec.ECDSA(hashes.SHA256())))

    assert shown.identity == WORKER
    assert shown.key_id == issued.key_id


def test_proof_needs_the_key_of_the_certificate(authority: CertificateAuthority) -> None:
    issued = authority.sign(csr_of(ec.generate_private_key(ec.SECP256R1())), WORKER)
    thief = ec.generate_private_key(ec.SECP256R1())

    with pytest.raises(UnauthenticatedError):
        authority.prove(issued.pem, message=b"renew", signature=thief.sign(b"renew", ec.ECDSA(hashes.SHA256())))


def test_proof_needs_a_certificate_of_ours(authority: CertificateAuthority, tmp_path: Path, clock: Hands) -> None:
    foreign = CertificateAuthority.create(tmp_path / "foreign", clock=clock)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = foreign.sign(csr_of(key), WORKER)

    with pytest.raises(UnauthenticatedError):
        authority.prove(issued.pem, message=b"renew", signature=key.sign(b"renew", ec.ECDSA(hashes.SHA256())))


def test_servers_certificate_is_no_agents(authority: CertificateAuthority) -> None:
    chain_pem, key_pem = authority.issue_server([])
    key = serialization.load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    with pytest.raises(UnauthenticatedError):
        authority.prove(chain_pem, message=b"renew", signature=key.sign(b"renew", ec.ECDSA(hashes.SHA256())))


def test_server_certificate_is_kept_until_it_must_change(
    authority: CertificateAuthority, tmp_path: Path, clock: Hands
) -> None:
    def current(*names: str) -> bytes:
        return server_certificate(tmp_path, authority=authority, names=names, clock=clock)[0]

    first = current("lode.example", "10.0.0.7")
    assert current("lode.example") == first
    assert current("other.example") != first
    second = current("other.example")
    clock.now += timedelta(days=200)
    assert current("other.example") != second
