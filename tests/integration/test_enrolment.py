"""Enrolment and its doors, over real TLS: tokens, certificates, and who is turned away with which words."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from front_door import FrontDoor, csr_of, key_pem, new_key, open_front_door
from google.protobuf.timestamp_pb2 import Timestamp
from lodeworks.agent.device.v1 import enrollment_pb2 as device_pb2
from lodeworks.agent.device.v1 import enrollment_pb2_grpc as device_grpc
from lodeworks.agent.worker.v1 import content_pb2, content_pb2_grpc
from lodeworks.agent.worker.v1 import enrollment_pb2 as worker_pb2
from lodeworks.agent.worker.v1 import enrollment_pb2_grpc as worker_grpc
from lodeworks.api.identity.v1 import identity_pb2, identity_pb2_grpc
from lodeworks.channel.diagnosis import explain, probe
from lodeworks.channel.dial import ClientCertificate, dial, dial_sync
from lodeworks.channel.errors import CertificateRefusedError, UnreachableError, WrongServerError
from lodeworks.channel.pinning import fetch_authority
from lodeworks.channel.refusal import refusal_of
from lodeworks_controller.domain.identity import AgentIdentity, AgentKind
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.transport.listeners import listen_for_people


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with open_front_door(tmp_path) as opened:
        yield opened


async def refused(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    refusal = refusal_of(caught.value)
    return refusal.code, refusal.reason


async def ask_as_agent(channel: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
    """Any call of an agent: its lease does not exist, so a good certificate is answered LEASE_LOST."""
    scope = content_pb2.LeaseScope(task_id="0" * 26, lease_epoch=1)
    stub = content_pb2_grpc.ContentServiceStub(channel)
    return await refused(stub.FindMissing(content_pb2.FindMissingRequest(scope=scope)))


async def enrol_worker(door: FrontDoor, token: str, key: ec.EllipticCurvePrivateKey) -> worker_pb2.EnrollResponse:
    async with dial(door.people_target, ca_pem=door.ca_pem) as channel:
        request = worker_pb2.EnrollRequest(token=token, csr_pem=csr_of(key), hostname="host")
        return await worker_grpc.EnrollmentServiceStub(channel).Enroll(request)


async def announced(door: FrontDoor, name: str = "box") -> str:
    _, token = await door.enrolment.add_worker(
        door.administrator, name, labels={}, lifetime=timedelta(hours=1), request_id=name
    )
    return token


async def test_token_becomes_a_certificate_that_opens_the_agents_door(door: FrontDoor) -> None:
    worker_id, certificate = await door.add_worker()

    async with door.dial_agents(certificate) as channel:
        assert await ask_as_agent(channel) == (grpc.StatusCode.ABORTED, "LEASE_LOST")
    async with door.store.snapshot() as tx:
        worker = await tx.workers.get(worker_id)
    assert worker.enrolled
    assert worker.hostname == "host"


async def test_token_counts_once_but_a_lost_reply_may_be_asked_for_again(door: FrontDoor) -> None:
    token, key = await announced(door), new_key()
    first = await enrol_worker(door, token, key)

    again = await enrol_worker(door, token, key)
    with pytest.raises(grpc.RpcError) as caught:
        await enrol_worker(door, token, new_key())

    assert again.worker_id == first.worker_id
    assert refusal_of(caught.value).reason == "TOKEN_INVALID"
    assert "lode worker add" in refusal_of(caught.value).message


async def test_repeated_announcement_answers_the_same_token(door: FrontDoor) -> None:
    assert await announced(door) == await announced(door)


async def test_expired_and_unknown_tokens_are_refused(door: FrontDoor) -> None:
    token = await announced(door)
    door.clock.now += timedelta(hours=2)
    for secret in (token, "lodejoin_" + "a" * 52, ""):
        with pytest.raises(grpc.RpcError) as caught:
            await enrol_worker(door, secret, new_key())
        assert refusal_of(caught.value).code is grpc.StatusCode.UNAUTHENTICATED


async def test_workers_token_makes_no_device(door: FrontDoor) -> None:
    token = await announced(door)
    async with dial(door.people_target, ca_pem=door.ca_pem) as channel:
        request = device_pb2.EnrollRequest(token=token, csr_pem=csr_of(new_key()))
        answer = await refused(device_grpc.EnrollmentServiceStub(channel).Enroll(request))

    assert answer == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_device_gets_certificate_and_root_of_trust(door: FrontDoor) -> None:
    identity, token = await door.announce_device()
    key = new_key()
    async with dial(door.people_target, ca_pem=door.ca_pem) as channel:
        request = device_pb2.EnrollRequest(token=token, csr_pem=csr_of(key), hostname="cam-7")
        response = await device_grpc.EnrollmentServiceStub(channel).Enroll(request)

    assert response.device_id == identity.id
    assert response.name == "cam"
    assert response.trusted_root == await door.trust.repository.trusted_root()
    assert door.devices == [f"{identity.id} cam-7"]
    async with door.dial_agents(ClientCertificate(response.certificate_pem, key_pem(key))) as channel:
        assert await ask_as_agent(channel) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_AGENT")


async def test_bad_request_for_a_certificate_spends_no_token(door: FrontDoor) -> None:
    token = await announced(door)
    async with dial(door.people_target, ca_pem=door.ca_pem) as channel:
        stub = worker_grpc.EnrollmentServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            await stub.Enroll(worker_pb2.EnrollRequest(token=token, csr_pem=b"garbage"))

    assert refusal_of(caught.value).reason == "CSR_INVALID"
    assert "csr_pem" in refusal_of(caught.value).fields
    assert (await enrol_worker(door, token, new_key())).worker_id


async def renew(
    door: FrontDoor, certificate_pem: bytes, old: ec.EllipticCurvePrivateKey, new: ec.EllipticCurvePrivateKey
) -> worker_pb2.RenewResponse:
    sign_time = Timestamp()
    sign_time.FromDatetime(door.clock.now)
    csr = csr_of(new)
    signature = old.sign(csr + sign_time.ToJsonString().encode(), ec.ECDSA(hashes.SHA256()))
    async with dial(door.people_target, ca_pem=door.ca_pem) as channel:
        request = worker_pb2.RenewRequest(
            certificate_pem=certificate_pem, csr_pem=csr, sign_time=sign_time, signature=signature
        )
        return await worker_grpc.EnrollmentServiceStub(channel).Renew(request)


async def test_renewal_works_after_the_end_and_after_a_lost_reply(door: FrontDoor) -> None:
    first, second, third = new_key(), new_key(), new_key()
    enrolled = await enrol_worker(door, await announced(door), first)
    door.clock.now += timedelta(days=200)

    await renew(door, enrolled.certificate_pem, first, second)  # the reply is lost
    fresh = await renew(door, enrolled.certificate_pem, first, third)

    await renew(door, fresh.certificate_pem, third, third)
    with pytest.raises(grpc.RpcError) as caught:
        await renew(door, enrolled.certificate_pem, second, second)
    assert refusal_of(caught.value).reason == "PROOF_INVALID"


async def test_key_that_was_replaced_twice_no_longer_renews(door: FrontDoor) -> None:
    keys = [new_key() for _ in range(3)]
    enrolled = await enrol_worker(door, await announced(door), keys[0])
    second = await renew(door, enrolled.certificate_pem, keys[0], keys[1])
    await renew(door, second.certificate_pem, keys[1], keys[2])

    with pytest.raises(grpc.RpcError) as caught:
        await renew(door, enrolled.certificate_pem, keys[0], keys[0])
    assert refusal_of(caught.value).reason == "PROOF_INVALID"


async def test_revoked_agent_is_turned_away_everywhere(door: FrontDoor) -> None:
    key = new_key()
    enrolled = await enrol_worker(door, await announced(door), key)
    identity = AgentIdentity(AgentKind.WORKER, enrolled.worker_id)
    async with door.dial_agents(ClientCertificate(enrolled.certificate_pem, key_pem(key))) as channel:
        assert await ask_as_agent(channel) == (grpc.StatusCode.ABORTED, "LEASE_LOST")
        async with door.store.transaction() as tx:
            await door.enrolment.revoke(tx, identity)

        assert await ask_as_agent(channel) == (grpc.StatusCode.PERMISSION_DENIED, "CERTIFICATE_REVOKED")
        await door.revocations.load(door.store)
        assert await ask_as_agent(channel) == (grpc.StatusCode.PERMISSION_DENIED, "CERTIFICATE_REVOKED")
    with pytest.raises(grpc.RpcError) as caught:
        await renew(door, enrolled.certificate_pem, key, key)
    assert refusal_of(caught.value).reason == "CERTIFICATE_REVOKED"


async def test_each_door_has_its_own_services_only(door: FrontDoor) -> None:
    _, certificate = await door.add_worker()
    async with door.dial_agents(certificate) as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)
        assert (await refused(stub.WhoAmI(identity_pb2.WhoAmIRequest())))[0] is grpc.StatusCode.UNIMPLEMENTED
    async with door.dial_people() as channel:
        assert (await ask_as_agent(channel))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_people_are_known_by_their_token(door: FrontDoor) -> None:
    async with door.dial_people() as channel:
        response = await identity_pb2_grpc.IdentityServiceStub(channel).WhoAmI(identity_pb2.WhoAmIRequest())
    assert response.user.name == "local"
    assert response.user.role == identity_pb2.INSTALLATION_ROLE_ADMINISTRATOR
    assert response.server.ca_fingerprint == door.trust.authority.fingerprint

    for token in ("", "wrong"):
        async with door.dial_people(token=token) as channel:
            stub = identity_pb2_grpc.IdentityServiceStub(channel)
            answer = await refused(stub.WhoAmI(identity_pb2.WhoAmIRequest()))
            assert answer == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_users_and_tokens_live_and_end(door: FrontDoor) -> None:
    async with door.dial_people() as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)
        create = identity_pb2.CreateUserRequest(name="ada", role=identity_pb2.INSTALLATION_ROLE_USER, request_id="one")
        ada = await stub.CreateUser(create)
        assert (await stub.CreateUser(create)).token == ada.token
        create.request_id = "two"
        assert await refused(stub.CreateUser(create)) == (grpc.StatusCode.ALREADY_EXISTS, "USER_EXISTS")
        users = await stub.ListUsers(identity_pb2.ListUsersRequest(page_size=1))
        rest = await stub.ListUsers(identity_pb2.ListUsersRequest(page_token=users.next_page_token))
        assert [user.name for user in (*users.users, *rest.users)] == ["ada", "local"]
        demote = identity_pb2.SetUserRoleRequest(user="local", role=identity_pb2.INSTALLATION_ROLE_USER)
        assert await refused(stub.SetUserRole(demote)) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_ADMINISTRATOR")

    async with door.dial_people(token=ada.token) as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)
        assert (await refused(stub.ListUsers(identity_pb2.ListUsersRequest())))[1] == "ROLE_TOO_LOW"
        made = await stub.CreateToken(identity_pb2.CreateTokenRequest(name="laptop", request_id="three"))
        tokens = await stub.ListTokens(identity_pb2.ListTokensRequest())
        assert [token.name for token in tokens.tokens] == ["laptop", "first"]
        await stub.RevokeToken(identity_pb2.RevokeTokenRequest(token_id=made.token.id))
    async with door.dial_people(token=made.secret) as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)
        assert (await refused(stub.WhoAmI(identity_pb2.WhoAmIRequest())))[1] == "TOKEN_INVALID"

    async with door.dial_people() as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)
        assert (await stub.DisableUser(identity_pb2.DisableUserRequest(user="ada"))).user.disabled
    async with door.dial_people(token=ada.token) as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)
        assert (await refused(stub.WhoAmI(identity_pb2.WhoAmIRequest())))[1] == "TOKEN_INVALID"


async def test_database_holds_no_secret(door: FrontDoor, tmp_path: Path) -> None:
    token = await announced(door)

    data = (tmp_path / "lode.db").read_bytes() + (tmp_path / "lode.db-wal").read_bytes()

    assert b"box" in data
    assert door.token.encode() not in data
    assert token.encode() not in data


async def test_blocking_channel_dials_too(door: FrontDoor) -> None:
    def ask() -> str:
        with dial_sync(door.people_target, ca_pem=door.ca_pem, token=door.token) as channel:
            stub = identity_pb2_grpc.IdentityServiceStub(channel)
            return stub.WhoAmI(identity_pb2.WhoAmIRequest()).user.name

    assert await asyncio.to_thread(ask) == "local"


async def failed_call(channel: grpc.aio.Channel) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        await identity_pb2_grpc.IdentityServiceStub(channel).WhoAmI(identity_pb2.WhoAmIRequest())
    return caught.value


async def test_wrong_server_is_told_apart(door: FrontDoor, tmp_path: Path) -> None:
    async with open_front_door(tmp_path / "foreign") as foreign:
        async with dial(foreign.people_target, ca_pem=door.ca_pem, token="t") as channel:
            error = await failed_call(channel)
        cause = await explain(error, target=foreign.people_target, ca_pem=door.ca_pem)

    assert isinstance(cause, WrongServerError)
    assert "not the controller whose authority is pinned" in str(cause)


async def test_refused_certificate_is_told_apart(door: FrontDoor, tmp_path: Path) -> None:
    _, good = await door.add_worker()
    async with open_front_door(tmp_path / "foreign") as foreign:
        _, certificate = await foreign.add_worker()
    async with door.dial_agents(certificate) as channel:
        error = await failed_call(channel)

    cause = await explain(error, target=door.agents_target, ca_pem=door.ca_pem, certificate=certificate)
    assert isinstance(cause, CertificateRefusedError)
    assert isinstance(await asyncio.to_thread(probe, door.agents_target, ca_pem=door.ca_pem), CertificateRefusedError)
    assert await asyncio.to_thread(probe, door.agents_target, ca_pem=door.ca_pem, certificate=good) is None
    assert await asyncio.to_thread(probe, door.people_target, ca_pem=door.ca_pem) is None


async def test_expired_certificate_is_refused(door: FrontDoor) -> None:
    door.clock.now -= timedelta(days=200)
    _, certificate = await door.add_worker()

    cause = await asyncio.to_thread(probe, door.agents_target, ca_pem=door.ca_pem, certificate=certificate)

    assert isinstance(cause, CertificateRefusedError)


async def test_nobody_there_is_told_apart(door: FrontDoor) -> None:
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{placeholder.getsockname()[1]}"
        async with dial(target, ca_pem=door.ca_pem, token="t") as channel:
            error = await failed_call(channel)
        cause = await explain(error, target=target, ca_pem=door.ca_pem)

    assert isinstance(cause, UnreachableError)


async def test_answered_refusal_needs_no_diagnosis(door: FrontDoor) -> None:
    async with door.dial_people(token="wrong") as channel:
        error = await failed_call(channel)

    assert await explain(error, target=door.people_target, ca_pem=door.ca_pem) is None


async def test_authority_is_fetched_by_its_fingerprint(door: FrontDoor) -> None:
    def fetch(pinned: str) -> bytes:
        return fetch_authority(door.people_target, pinned=pinned)

    assert await asyncio.to_thread(fetch, door.trust.authority.fingerprint) == door.ca_pem
    assert await asyncio.to_thread(fetch, door.trust.authority.fingerprint.removeprefix("sha256:")) == door.ca_pem
    with pytest.raises(WrongServerError):
        await asyncio.to_thread(fetch, "sha256:" + "0" * 64)


async def test_port_in_use_is_said(door: FrontDoor) -> None:
    chain, key = door.trust.listener_certificate([])
    with pytest.raises(ConflictError) as caught:
        await listen_for_people(
            door.people_target, chain_pem=chain, key_pem=key, services=[], logger=logging.getLogger("test")
        )

    assert caught.value.reason == "PORT_IN_USE"
