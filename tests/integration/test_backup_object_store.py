"""A backup of an installation whose content is in an object store: moto's server, which checks no signatures."""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from controller_world import installation, now
from lodeworks_controller.config import Config
from lodeworks_controller.errors import ConflictError, InvalidError
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.storage.backup.manifest import listed_blobs, verify
from lodeworks_controller.storage.blobs.object_address import object_store
from lodeworks_controller.storage.blobs.repacking import object_key
from lodeworks_controller.wiring.maintenance import back_up, restore
from object_stores import make_bucket

LARGE = os.urandom(1 << 20) * 9


@dataclass(frozen=True)
class Bucket:
    """A bucket, and what to say to reach it."""

    address: str
    folder: str

    def url(self, name: str) -> str:
        return f"s3://backups/{self.folder}/{name}"

    def objects(self, name: str) -> Any:
        keys = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
        return object_store(self.url(name), {"endpoint": self.address, **keys})


@pytest.fixture
def place(s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    make_bucket(s3_address, "backups")
    told = {"ENDPOINT_URL": s3_address, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1"}
    for name, value in told.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return Bucket(s3_address, tmp_path.name)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def config(request: pytest.FixtureRequest, place: Bucket, tmp_path: Path) -> Config:
    made = Config(state=tmp_path / "old" / "state", blobs_url=place.url("old"))
    made.state.mkdir(parents=True)
    return elsewhere(made, request, tmp_path / "old")


@pytest.fixture
def fresh(request: pytest.FixtureRequest, config: Config, tmp_path: Path) -> Config:
    """Another place for the same kind of database, with its content in a folder."""
    return elsewhere(replace(config, state=tmp_path / "new" / "state", blobs_url=""), request, tmp_path / "new")


def elsewhere(config: Config, request: pytest.FixtureRequest, folder: Path) -> Config:
    if config.database_url or "postgres" in request.node.name:
        url = request.getfixturevalue("postgres_server").create()
        return replace(config, database_url=url, shared=str(folder / "shared"))
    return config


def more_of(config: Config) -> Mapping[str, str]:
    return {"database_url": config.database_url, "shared": config.shared, "blobs_url": config.blobs_url}


async def fill(world: Any) -> dict[str, bytes]:
    """Stores small blobs in several packs, and a large one."""
    blobs, contents = world.controller.ground.blobs, [LARGE]
    await blobs.put_bytes(LARGE)
    for batch in range(3):
        small = [f"picture {batch} {number}".encode() for number in range(40)]
        await blobs.put_many(small)
        contents += small
    made = {hashlib.sha256(data).hexdigest(): data for data in contents}
    async with world.controller.ground.store.transaction() as tx:
        await tx.blobs.reference(project_scope(world.project_id), list(made))
    return made


async def check(world: Any, made: Mapping[str, bytes]) -> None:
    blobs = world.controller.ground.blobs
    assert not await blobs.find_missing(made)
    for digest, data in made.items():
        assert await blobs.read(digest) == data


async def test_content_comes_out_of_the_bucket_and_goes_into_another_or_into_a_folder(
    config: Config, fresh: Config, place: Bucket, tmp_path: Path
) -> None:
    out = tmp_path / "monday"
    async with installation(config.state, **more_of(config)) as world:
        made = await fill(world)
        await asyncio.gather(
            asyncio.to_thread(back_up, config, out, clock=now),
            world.controller.ground.kept.compact(),  # packs are rewritten meanwhile
        )
    manifest, wrong = verify(out)
    assert (manifest.missing, wrong) == ([], [])
    assert {digest for digest, _ in listed_blobs(out)} >= made.keys()

    with pytest.raises(ConflictError, match="overwrites nothing; name another bucket or prefix"):
        await asyncio.to_thread(restore, replace(fresh, blobs_url=config.blobs_url), out, clock=now)
    if config.database_url:
        await asyncio.to_thread(restore, fresh, out, clock=now)
    else:
        to_folder = replace(fresh, state=tmp_path / "folder" / "state")
        await asyncio.to_thread(restore, to_folder, out, clock=now)
        async with installation(to_folder.state) as world:
            await check(world, made)
        fresh = replace(fresh, blobs_url=place.url("new"))
        await asyncio.to_thread(restore, fresh, out, clock=now)
        assert not list(fresh.state.glob("restoring.db*"))
    async with installation(fresh.state, **more_of(fresh)) as world:
        await check(world, made)
        await world.controller.ground.kept.compact()
        await check(world, made)


async def test_what_the_bucket_lost_or_changed_is_told(place: Bucket, tmp_path: Path) -> None:
    config = Config(state=tmp_path / "state", blobs_url=place.url("content"))
    async with installation(config.state, blobs_url=config.blobs_url) as world:
        await fill(world)
        digest = hashlib.sha256(LARGE).hexdigest()
        objects = place.objects("content")
        await objects.put_async(object_key(digest), b"x" * len(LARGE))
        with pytest.raises(InvalidError, match=f"other bytes than it was given: blob {digest}"):
            await asyncio.to_thread(back_up, config, tmp_path / "changed", clock=now)
        assert not (tmp_path / "changed").exists()
        await objects.delete_async(object_key(digest))
        manifest = await asyncio.to_thread(back_up, config, tmp_path / "lost", clock=now)
    assert manifest.missing == [digest]
    assert verify(tmp_path / "lost") == (manifest, [])
