"""A backup taken while everything goes on, brought back to where nothing is: what was there is there."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from controller_world import NOTHING, installation, now
from google.protobuf.duration_pb2 import Duration
from lodeworks.agent.worker.v1 import worker_pb2 as agent_pb2
from lodeworks.agent.worker.v1 import worker_pb2_grpc as agent_grpc
from lodeworks.profile import Profile
from lodeworks.resources.client import AsyncClient
from lodeworks_controller.config import Config
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.storage.backup.manifest import blob_path, listed_blobs, read_manifest, verify
from lodeworks_controller.storage.database.engine import sqlite_engine
from lodeworks_controller.storage.database.migration import (
    _upgrade,
    check_schema,
    current_revision,
    migrate,
    newest_revision,
    on_database,
)
from lodeworks_controller.trust.installation import load_trust
from lodeworks_controller.wiring.maintenance import back_up, restore, upgrade


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def config_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Config]:
    """Returns the configuration of an installation of a name, each on a database of its own."""
    made = {}
    for name in ("old", "new"):
        made[name] = Config(state=tmp_path / name / "state")
        if request.param == "postgres":
            url = request.getfixturevalue("postgres_server").create()
            made[name] = replace(made[name], database_url=url, shared=str(tmp_path / name / "shared"))
    made["old"].state.mkdir(parents=True)
    return made.__getitem__


def more_of(config: Config) -> dict[str, str]:
    return {"database_url": config.database_url, "shared": config.shared}


async def store_blobs(place, count: int, *, begin: int) -> list[str]:
    ground = place.controller.ground
    made = await ground.blobs.put_many([f"picture {number}".encode() for number in range(begin, begin + count)])
    digests = [blob.digest for blob in made]
    async with ground.store.transaction() as tx:
        await tx.blobs.reference(project_scope(place.project_id), digests)
    return digests


async def test_everything_is_there_after_a_restore(config_of, tmp_path: Path):
    config, out = config_of("old"), tmp_path / "backups" / "monday"
    stop = asyncio.Event()
    stored: list[str] = []
    committed: list[str] = []

    async def work(place) -> None:
        number = 0
        while not stop.is_set():
            stored.extend(await store_blobs(place, 5, begin=number))
            committed.append((await place.submit(title=f"task {number}", spec={"bad": True})).id)
            number += 5

    async with installation(config.state, **more_of(config)) as place:
        before_blobs = await store_blobs(place, 20, begin=1_000_000)
        before_task = await place.submit(title="before the backup")
        (config.logs / "some").mkdir(parents=True, exist_ok=True)
        (config.logs / "some" / "attempt.log").write_bytes(b"line\n" * 1_000)
        load = asyncio.create_task(work(place))
        while len(stored) < 50:  # noqa: ASYNC110 (the load goes on beside)
            await asyncio.sleep(0)
        manifest = await asyncio.to_thread(back_up, config, out, clock=now)
        at_backup = len(committed)
        while len(committed) < at_backup + 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        stop.set()
        await load
        token = place.token
    assert manifest.missing == []
    assert verify(out) == (manifest, [])
    assert manifest == read_manifest(out)
    assert out.stat().st_mode & 0o077 == 0
    listed = {digest for digest, _ in listed_blobs(out)}
    assert set(before_blobs) <= listed
    assert listed <= {*before_blobs, *stored}

    fresh = config_of("new")
    await asyncio.to_thread(restore, fresh, out, clock=now)
    async with installation(fresh.state, **more_of(fresh)) as again:
        profile = Profile(name="x", server=again.people, token=token, ca_pem=again.ca_pem.decode())
        async with AsyncClient(profile) as client:
            assert (await client.users.whoami()).user.name == "ada"
            titles = {task.title async for task in client.tasks.list()}
        assert "before the backup" in titles
        for digest in listed:
            data = await again.controller.ground.blobs.read(digest)
            assert hashlib.sha256(data).hexdigest() == digest
        async with again.controller.ground.store.snapshot() as tx:
            task = await tx.tasks.get(before_task.id)
            assert task.lease.epoch >= 1_000
    assert (fresh.logs / "some" / "attempt.log").read_bytes() == b"line\n" * 1_000


async def test_what_ran_runs_anew_with_an_epoch_that_nobody_has_seen(config_of, tmp_path: Path):
    config = config_of("old")
    async with installation(config.state, **more_of(config)) as place:
        _, channel, _ = await place.enrol("rack-1")
        worker = agent_grpc.WorkerServiceStub(channel)
        able = agent_pb2.Capabilities(capabilities=NOTHING, max_runs=4)
        session = (await worker.Register(agent_pb2.RegisterRequest(boot_id="boot", capabilities=able))).session
        task = await place.submit(title="on its way")
        polled = await worker.Poll(agent_pb2.PollRequest(session=session, max_leases=1, wait=Duration(seconds=20)))
        assert [grant.task_id for grant in polled.grants] == [task.id]
        await channel.close()
        async with place.controller.ground.store.snapshot() as tx:
            leased = await tx.tasks.get(task.id)
        await asyncio.to_thread(back_up, config, tmp_path / "b", clock=now)
    fresh = config_of("new")
    before = await load_trust(config.trust, clock=now).repository.metadata("timestamp.json")
    await asyncio.to_thread(restore, fresh, tmp_path / "b", clock=now)
    after = await load_trust(fresh.trust, clock=now).repository.metadata("timestamp.json")
    assert b'"version":1001' in after.replace(b" ", b"") or b'"version":1002' in after.replace(b" ", b"")
    assert before != after
    async with installation(fresh.state, **more_of(fresh)) as again:
        async with again.controller.ground.store.snapshot() as tx:
            back = await tx.tasks.get(task.id)
            assert back.state is TaskState.QUEUED
            assert back.lease.epoch > leased.lease.epoch + 900
            attempts = await tx.tasks.attempts(task.id)
        assert "restored from a backup" in attempts[-1].message


async def test_a_damaged_backup_is_told_and_not_brought_back(tmp_path: Path):
    config = Config(state=tmp_path / "state")
    async with installation(config.state) as place:
        digests = await store_blobs(place, 3, begin=0)
        await asyncio.to_thread(back_up, config, tmp_path / "b", clock=now, linked=False)
    victim = blob_path(tmp_path / "b", digests[0])
    good = victim.read_bytes()
    victim.chmod(0o600)
    victim.write_bytes(b"X" * len(good))
    assert verify(tmp_path / "b")[1] == [f"blob {digests[0]} is not what it was"]
    with pytest.raises(InvalidError, match=r"not what it was"):
        await asyncio.to_thread(restore, Config(state=tmp_path / "r1"), tmp_path / "b", clock=now)
    victim.write_bytes(good)
    assert verify(tmp_path / "b")[1] == []
    (tmp_path / "b" / "trust" / "keys" / "tokens.key").write_bytes(b"other")
    with pytest.raises(InvalidError, match=r"tokens\.key is not what it was"):
        await asyncio.to_thread(restore, Config(state=tmp_path / "r2"), tmp_path / "b", clock=now)
    assert not (tmp_path / "r2").exists()
    with pytest.raises(NotFoundError):
        await asyncio.to_thread(restore, Config(state=tmp_path / "r3"), tmp_path, clock=now)


async def test_neither_a_backup_nor_an_installation_is_overwritten(tmp_path: Path):
    config = Config(state=tmp_path / "state")
    async with installation(config.state):
        await asyncio.to_thread(back_up, config, tmp_path / "b", clock=now)
        with pytest.raises(ConflictError, match="not empty"):
            await asyncio.to_thread(back_up, config, tmp_path / "b", clock=now)
    with pytest.raises(ConflictError, match="overwrites nothing"):
        await asyncio.to_thread(restore, config, tmp_path / "b", clock=now)


def test_an_upgrade_copies_the_database_first_and_a_newer_one_is_refused(tmp_path: Path):
    config = Config(state=tmp_path / "state")
    config.state.mkdir()
    wanted = newest_revision()
    on_database(config.database, lambda connection: _upgrade(connection, "0004"))
    with pytest.raises(ConflictError, match="older schema"):
        check_schema(config.database)
    before, after, copy = upgrade(config, clock=lambda: datetime(2026, 5, 1, 12, tzinfo=UTC))
    assert (before, after) == ("0004", wanted)
    assert copy == config.state / "backups" / f"before-{wanted}-20260501T120000Z"
    assert current_revision(copy / "lode.db") == "0004"
    check_schema(config.database)
    assert upgrade(config, clock=now) == (wanted, wanted, None)
    with sqlite_engine(config.database).connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for refused in (
        lambda: upgrade(config, clock=now),
        lambda: migrate(config.database),
        lambda: check_schema(config.database),
    ):
        with pytest.raises(ConflictError, match="newer schema"):
            refused()
