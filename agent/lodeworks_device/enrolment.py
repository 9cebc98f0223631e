"""How a device becomes one: a one-time token and its own key against a certificate; and how that is renewed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.timestamp_pb2 import Timestamp
from lodeworks.agent.device.v1 import enrollment_pb2, enrollment_pb2_grpc
from lodeworks.channel import errors as channel_errors
from lodeworks.channel.addresses import addresses_of, agents_target
from lodeworks.channel.diagnosis import explain
from lodeworks.channel.dial import ClientCertificate, dial
from lodeworks.channel.errors import ChannelError
from lodeworks.channel.pinning import fetch_authority
from lodeworks.channel.refusal import refusal_of

from lodeworks_device.errors import EnrolmentError, UnreachableError
from lodeworks_device.files import write_whole

_CALL_TIMEOUT_S = 30.0
_KEY, _CERTIFICATE, _CA, _ROOT, _TOLD = "key.pem", "certificate.pem", "ca.pem", "root.json", "device.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is to its controller. `server` enrols and renews, `agents` is where it works."""

    device_id: str
    name: str
    server: str
    agents: str
    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes
    trusted_root: bytes
    """`root.json` of the release repository: what all trust in releases begins with."""

    @property
    def client_certificate(self) -> ClientCertificate:
        """What the device shows of itself."""
        return ClientCertificate(self.certificate_pem, self.key_pem)

    @property
    def valid(self) -> tuple[datetime, datetime]:
        """From when to when the certificate holds."""
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def load_identity(folder: Path) -> Identity:
    """Reads what `enrol` wrote; raises EnrolmentError where there is nothing."""
    try:
        told = json.loads((folder / _TOLD).read_text(encoding="utf-8"))
        return Identity(
            device_id=told["device_id"],
            name=told["name"],
            server=told["server"],
            agents=told["agents"],
            ca_pem=(folder / _CA).read_bytes(),
            certificate_pem=(folder / _CERTIFICATE).read_bytes(),
            key_pem=(folder / _KEY).read_bytes(),
            trusted_root=(folder / _ROOT).read_bytes(),
        )
    except (OSError, ValueError, KeyError) as error:
        raise EnrolmentError(
            f"this device is not enrolled ({folder} holds no identity); get a line to type with `lode device add NAME`"
        ) from error


async def enrol(folder: Path, *, server: str, token: str, ca_fingerprint: str, hostname: str) -> Identity:
    """Trades a one-time token for an identity. Safe to repeat with the same token: the key is made once.

    Args:
        folder: Where the identity is kept, for the owner alone.
        server: `host:port` of the listener for people.
        token: The one-time token.
        ca_fingerprint: `sha256:…` of the installation's authority; no other server is believed.
        hostname: Name of this machine, for people.

    Raises:
        EnrolmentError: The controller refused, or it is not the one of the fingerprint.
        UnreachableError: Nobody answers at the address.
    """
    key_pem = own_key(folder)
    try:
        ca_pem = fetch_authority(server, pinned=ca_fingerprint)
    except ChannelError as error:
        raise _refused(error) from error
    request = enrollment_pb2.EnrollRequest(token=token, csr_pem=signing_request(key_pem), hostname=hostname)
    async with dial(server, ca_pem=ca_pem) as channel:
        stub = enrollment_pb2_grpc.EnrollmentServiceStub(channel)
        try:
            told = await stub.Enroll(request, timeout=_CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            cause = await explain(error, target=server, ca_pem=ca_pem)
            raise _refused(cause) if cause else EnrolmentError(refusal_of(error).message) from error
    identity = Identity(
        device_id=told.device_id,
        name=told.name,
        server=server,
        agents=agents_target(told.agents_address, server=server, first=_turn(told.device_id)),
        ca_pem=told.ca_pem or ca_pem,
        certificate_pem=told.certificate_pem,
        key_pem=key_pem,
        trusted_root=told.trusted_root,
    )
    _keep(folder, identity)
    return identity


def _refused(error: ChannelError) -> EnrolmentError | UnreachableError:
    kind = UnreachableError if error.reason == channel_errors.UnreachableError.reason else EnrolmentError
    return kind(str(error))


def renewal_due(identity: Identity, *, at: datetime) -> bool:
    """Whether half of the certificate's life is over."""
    begin, end = identity.valid
    return at >= begin + (end - begin) / 2


def until_renewal(identity: Identity, *, at: datetime) -> timedelta:
    """Returns how long the certificate still lives to its half."""
    begin, end = identity.valid
    return max(timedelta(0), begin + (end - begin) / 2 - at)


async def renew(folder: Path, identity: Identity, *, at: datetime) -> Identity:
    """Trades proof of the enrolled key for a fresh certificate, also after the old one has ended."""
    csr_pem = signing_request(identity.key_pem)
    sign_time = Timestamp()
    sign_time.FromDatetime(at)
    key = _private(identity.key_pem)
    signature = key.sign(csr_pem + sign_time.ToJsonString().encode(), ec.ECDSA(hashes.SHA256()))
    request = enrollment_pb2.RenewRequest(
        certificate_pem=identity.certificate_pem, csr_pem=csr_pem, sign_time=sign_time, signature=signature
    )
    async with dial(identity.server, ca_pem=identity.ca_pem) as channel:
        stub = enrollment_pb2_grpc.EnrollmentServiceStub(channel)
        try:
            told = await stub.Renew(request, timeout=_CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise EnrolmentError(f"the certificate was not renewed: {refusal_of(error).message}") from error
    renewed = Identity(
        device_id=identity.device_id,
        name=identity.name,
        server=identity.server,
        agents=identity.agents,
        ca_pem=told.ca_pem or identity.ca_pem,
        certificate_pem=told.certificate_pem,
        key_pem=identity.key_pem,
        trusted_root=identity.trusted_root,
    )
    _keep(folder, renewed)
    return renewed


def relocated(folder: Path, identity: Identity, *, agents_address: str, addresses: Sequence[str]) -> Identity:
    """Remembers where the controllers are now, as they told it; returns the identity, the same where nothing changed.

    Args:
        folder: Where the identity is kept.
        identity: Who this device is.
        agents_address: `host:port`, several with commas between; empty = as before.
        addresses: Those of enrolment and renewal; empty = as before.
    """
    agents, server = identity.agents, identity.server
    if agents_address:
        agents = agents_target(agents_address, server=server, first=_turn(identity.device_id))
    if addresses:
        server = ",".join(addresses)
    if (agents, server) == (identity.agents, identity.server):
        return identity
    moved = replace(identity, agents=agents, server=server)
    _keep(folder, moved)
    return moved


def adds_places(moved: Identity, dialled: Identity) -> bool:
    """Whether an identity names controllers that the one in use does not know: a reason to connect anew."""
    return not {*addresses_of(moved.agents)} <= {*addresses_of(dialled.agents)}


def own_key(folder: Path) -> bytes:
    """Returns the device's private key, made the first time: P-256, for the owner alone."""
    path = folder / _KEY
    if path.exists():
        return path.read_bytes()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(path, pem)
    return pem


def signing_request(key_pem: bytes) -> bytes:
    """Returns a PEM signing request; the controller writes the name that it knows into the certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lodeworks-device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(_private(key_pem), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _private(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _turn(own_id: str) -> int:
    """Returns a number that is another for each: so that they spread over several controllers."""
    return int.from_bytes(hashlib.sha256(own_id.encode()).digest()[:4])


def _keep(folder: Path, identity: Identity) -> None:
    write_whole(folder / _CA, identity.ca_pem)
    write_whole(folder / _CERTIFICATE, identity.certificate_pem)
    write_whole(folder / _ROOT, identity.trusted_root)
    told = {
        "device_id": identity.device_id,
        "name": identity.name,
        "server": identity.server,
        "agents": identity.agents,
    }
    write_whole(folder / _TOLD, json.dumps(told, indent=1).encode())
