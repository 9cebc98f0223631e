import json
from datetime import UTC, datetime, timedelta

import pytest
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.release import ReleasedPackage
from lodeworks_controller.trust.installation import create_trust
from lodeworks_device.desired import Signed
from lodeworks_device.errors import DocumentError, RefusedError, StepError, UnreachableError
from lodeworks_device.reasons import Reason
from lodeworks_device.states import Goal, Version
from lodeworks_device.trust import Trust
from lodeworks_formats.manifest import sha256_hex

NOW = datetime.now(UTC).replace(microsecond=0)
MANIFEST = b'{"a":1}'


class Carrier:
    """Carries the files of a repository as the controller does; `changed` replaces some on the way."""

    def __init__(self, repository):
        self.repository = repository
        self.changed = {}
        self.there = True

    async def metadata(self, name):
        return await self._read(name, self.repository.metadata)

    async def target(self, path):
        return await self._read(path, self.repository.target)

    async def _read(self, name, read):
        if not self.there:
            raise UnreachableError("nobody answers")
        if name in self.changed:
            return self.changed[name]
        try:
            return await read(name)
        except NotFoundError as error:
            raise RefusedError(str(error), reason=error.reason) from error


class Installation:
    """A real repository with one release, and a device's trust in it."""

    def __init__(self, folder, *, clock=lambda: NOW):
        self.made = create_trust(folder / "controller", clock=clock)
        self.carrier = Carrier(self.made.repository)
        self.folder = folder

    async def opened(self):
        self.release = await self.made.repository.add_release(
            "default/cells", 1, packages=[ReleasedPackage(MANIFEST, "onnx", "fp32", {})]
        )
        root = await self.made.repository.trusted_root()
        self.trust = Trust(self.folder / "device", root=root, control=self.carrier)
        return self

    def sign(self, **changes):
        entry = {
            "name": "cells",
            "release_path": self.release.path,
            "release": 1,
            "package_id": sha256_hex(MANIFEST),
            "state": "running",
            "settings": {"confidence": 0.4},
        }
        document = {
            "device_id": "d1",
            "generation": 3,
            "issued_at": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
            "expires_at": f"{NOW + timedelta(days=90):%Y-%m-%dT%H:%M:%SZ}",
            "algorithms": [entry],
            "policy": {},
            **changes,
        }
        signed = self.made.desired_state.sign(document)
        return Signed(signed.document, signed.signature, signed.key_id)

    async def verify(self, signed, *, seen=2, at=NOW):
        return await self.trust.verify(signed, device_id="d1", seen=seen, at=at)

    async def refused(self, signed, **more):
        with pytest.raises(DocumentError) as raised:
            await self.verify(signed, **more)
        return raised.value.reason


@pytest.fixture
async def world(tmp_path):
    return await Installation(tmp_path).opened()


async def test_a_good_document_is_believed_and_read(world):
    desired = await world.verify(world.sign())
    wanted = desired.algorithms[0]
    assert (desired.generation, wanted.name, wanted.goal, wanted.confidence) == (3, "cells", Goal.RUNNING, 0.4)
    assert wanted.version.release == "cells@1"
    released = await world.trust.released(wanted.version)
    assert released.manifest_size_bytes == len(MANIFEST)


async def test_what_was_signed_for_others_or_before_is_refused(world):
    assert await world.refused(world.sign(device_id="d2")) is Reason.FOREIGN
    assert await world.refused(world.sign(), seen=3) is Reason.EXPIRED
    assert await world.refused(world.sign(generation=2), seen=3) is Reason.EXPIRED
    assert await world.refused(world.sign(), at=NOW + timedelta(days=91)) is Reason.EXPIRED


async def test_what_is_not_signed_as_it_stands_is_refused(world):
    good = world.sign()
    changed = good.data.replace(b'"generation":3', b'"generation":4')
    assert await world.refused(Signed(changed, good.signature, good.key_id)) is Reason.SIGNATURE_INVALID
    assert await world.refused(Signed(good.data, good.signature, "00" * 32)) is Reason.SIGNATURE_INVALID
    assert await world.refused(Signed(good.data, b"", good.key_id)) is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithms": [{"name": "cells"}]},
        {"algorithms": [{"name": "c", "release_path": "r", "release": 1, "package_id": "../x", "state": "running"}]},
        {"issued_at": "yesterday"},
    ],
)
async def test_what_cannot_be_read_is_refused(world, changes):
    assert await world.refused(world.sign(**changes)) is Reason.INCOMPATIBLE


async def test_a_package_that_the_release_does_not_list_is_refused(world):
    for version in (
        Version("ab" * 32, "cells@1", world.release.path),
        Version(sha256_hex(MANIFEST), "cells@2", "releases/default/cells/2.json"),
    ):
        with pytest.raises(StepError) as raised:
            await world.trust.released(version)
        assert raised.value.reason is Reason.NOT_RELEASED


async def test_a_repository_of_somebody_else_is_refused(world, tmp_path):
    other = await Installation(tmp_path / "other").opened()
    world.carrier.repository = other.made.repository
    assert await world.refused(other.sign()) is Reason.SIGNATURE_INVALID


async def test_a_changed_target_is_refused(world):
    keys = json.loads(await world.made.repository.target("trust/desired-state-keys.json"))
    key = next(iter(keys["keys"].values()))
    key["keyval"]["public"] = "00" * 32
    world.carrier.changed["trust/desired-state-keys.json"] = json.dumps(keys).encode()
    assert await world.refused(world.sign()) is Reason.SIGNATURE_INVALID


async def test_an_older_repository_is_refused_once_a_newer_one_was_seen(world):
    before = {"timestamp.json": await world.made.repository.metadata("timestamp.json")}
    await world.made.repository.add_release(
        "default/cells", 2, packages=[ReleasedPackage(MANIFEST, "onnx", "fp32", {})]
    )
    await world.verify(world.sign())
    world.carrier.changed = before
    assert await world.refused(world.sign()) is Reason.SIGNATURE_INVALID


async def test_an_expired_repository_blocks_new_work(tmp_path):
    world = await Installation(tmp_path, clock=lambda: NOW - timedelta(days=30)).opened()
    assert await world.refused(world.sign()) is Reason.EXPIRED


async def test_a_repository_that_cannot_be_asked_says_nothing_about_trust(world):
    world.carrier.there = False
    with pytest.raises(UnreachableError):
        await world.verify(world.sign())
    world.carrier.there = True
    await world.verify(world.sign())
