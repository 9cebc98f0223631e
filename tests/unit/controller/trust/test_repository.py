"""The release repository, read by python-tuf itself as a device does."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from lodeworks_controller.errors import ExistsError, InvalidError, NotFoundError
from lodeworks_controller.service.release import ReleasedPackage
from lodeworks_controller.trust.installation import Trust, create_trust, load_trust
from securesystemslib.signer import Key, Signature
from tuf.api.exceptions import BadVersionNumberError, DownloadHTTPError, ExpiredMetadataError, UnsignedMetadataError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

PACKAGE = ReleasedPackage(manifest=b'{"a":1}', target="onnx", precision="fp32", statement={"map50": 0.86})
OTHER = ReleasedPackage(manifest=b'{"a":2}', target="openvino", precision="int8", statement={"map50": 0.85})


class Hands:
    """A clock that stands where it is put; python-tuf believes the machine's own, so it starts there."""

    def __init__(self) -> None:
        self.now = datetime.now(tz=UTC)

    def __call__(self) -> datetime:
        return self.now


class Folder(FetcherInterface):
    """Serves a repository's folder, as GetMetadata and GetTarget do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _fetch(self, url: str) -> Any:
        path = self.folder / urlparse(url).path.lstrip("/")
        if not path.exists():
            raise DownloadHTTPError("not there", 404)
        return iter([path.read_bytes()])


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def trust(tmp_path: Path, clock: Hands) -> Trust:
    return create_trust(tmp_path / "trust", clock=clock)


class Device:
    """Verifies with python-tuf; keeps its metadata between updates."""

    def __init__(self, home: Path, repository: Path, root: bytes) -> None:
        home.mkdir()
        (home / "targets").mkdir()
        self.home, self.fetcher, self.root = home, Folder(repository), root

    def updater(self) -> Updater:
        updater = Updater(
            metadata_dir=str(self.home / "metadata"),
            metadata_base_url="http://repository/metadata/",
            target_dir=str(self.home / "targets"),
            target_base_url="http://repository/targets/",
            fetcher=self.fetcher,
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=self.root,
        )
        updater.refresh()
        return updater

    def read(self, path: str) -> bytes:
        updater = self.updater()
        info = updater.get_targetinfo(path)
        assert info is not None
        return Path(updater.download_target(info)).read_bytes()


@pytest.fixture
async def device(trust: Trust, tmp_path: Path) -> Device:
    return Device(tmp_path / "device", tmp_path / "trust" / "repository", await trust.repository.trusted_root())


async def test_device_reads_a_signed_release(trust: Trust, device: Device) -> None:
    release = await trust.repository.add_release("cells/detector", 1, packages=[PACKAGE, OTHER])

    assert release.path == "releases/cells/detector/1.json"
    document = json.loads(device.read(release.path))
    assert document["algorithm"] == "cells/detector"
    assert [package["package_id"] for package in document["packages"]] == list(release.package_ids)
    assert document["packages"][1]["statement"] == {"map50": 0.85}
    assert await trust.repository.target(release.path) == release.document


async def test_many_releases_stay_readable(trust: Trust, device: Device) -> None:
    for number in range(1, 6):
        await trust.repository.add_release("cells", number, packages=[PACKAGE])
        assert json.loads(device.read(f"releases/cells/{number}.json"))["number"] == number
    assert device.updater().get_targetinfo("releases/cells/1.json") is not None


async def test_two_controllers_release_into_one_folder(
    trust: Trust, device: Device, tmp_path: Path, clock: Hands
) -> None:
    other = load_trust(tmp_path / "trust", clock=clock)
    await asyncio.gather(
        *(
            one.repository.add_release("cells", number, packages=[PACKAGE])
            for number, one in enumerate([trust, other] * 5, 1)
        )
    )
    for number in range(1, 11):
        assert json.loads(device.read(f"releases/cells/{number}.json"))["number"] == number


async def test_release_is_immutable_and_repeatable(trust: Trust) -> None:
    first = await trust.repository.add_release("cells", 1, packages=[PACKAGE])
    timestamp = await trust.repository.metadata("timestamp.json")

    assert await trust.repository.add_release("cells", 1, packages=[PACKAGE]) == first
    assert await trust.repository.metadata("timestamp.json") == timestamp
    with pytest.raises(ExistsError):
        await trust.repository.add_release("cells", 1, packages=[OTHER])


@pytest.mark.parametrize("name", ["", "../cells", "a/b/c", "Cells", "a//b", "/a", "a/", ".a"])
async def test_hostile_names_are_refused(trust: Trust, name: str) -> None:
    with pytest.raises(InvalidError):
        await trust.repository.add_release(name, 1, packages=[PACKAGE])


@pytest.mark.parametrize("name", ["../../keys/root.pem", "0.root.json", "2.root.json", "root.json", ""])
async def test_only_metadata_is_served_by_name(trust: Trust, name: str) -> None:
    with pytest.raises(NotFoundError):
        await trust.repository.metadata(name)


@pytest.mark.parametrize("path", ["../metadata/timestamp.json", "releases/cells/1.json", "/etc/passwd", ""])
async def test_only_signed_targets_are_served(trust: Trust, path: str) -> None:
    with pytest.raises(NotFoundError):
        await trust.repository.target(path)


async def test_crash_before_the_timestamp_leaves_the_old_state(
    trust: Trust, device: Device, tmp_path: Path, clock: Hands
) -> None:
    await trust.repository.add_release("cells", 1, packages=[PACKAGE])
    timestamp = tmp_path / "trust" / "repository" / "metadata" / "timestamp.json"
    before = timestamp.read_bytes()
    await trust.repository.add_release("cells", 2, packages=[PACKAGE])
    timestamp.write_bytes(before)  # as if the process had died one step earlier

    again = load_trust(tmp_path / "trust", clock=clock)
    assert device.updater().get_targetinfo("releases/cells/2.json") is None
    await again.repository.add_release("cells", 2, packages=[OTHER])
    assert json.loads(device.read("releases/cells/2.json"))["packages"][0]["target"] == "openvino"


async def test_refresh_signs_what_grew_old(trust: Trust, device: Device, clock: Hands) -> None:
    assert not await trust.repository.refresh()
    before = await trust.repository.metadata("timestamp.json")
    clock.now += timedelta(days=8)

    assert await trust.repository.refresh()
    assert await trust.repository.metadata("timestamp.json") != before
    device.updater()
    clock.now += timedelta(days=800)
    assert await trust.repository.refresh()
    assert not await trust.repository.refresh()
    device.updater()


async def test_expired_repository_is_not_believed(tmp_path: Path, clock: Hands) -> None:
    clock.now -= timedelta(days=30)
    trust = create_trust(tmp_path / "trust", clock=clock)
    device = Device(tmp_path / "device", tmp_path / "trust" / "repository", await trust.repository.trusted_root())

    with pytest.raises(ExpiredMetadataError):
        device.updater()


async def test_rolled_back_repository_is_not_believed(trust: Trust, device: Device, tmp_path: Path) -> None:
    timestamp = tmp_path / "trust" / "repository" / "metadata" / "timestamp.json"
    old = timestamp.read_bytes()
    await trust.repository.add_release("cells", 1, packages=[PACKAGE])
    device.updater()
    timestamp.write_bytes(old)

    with pytest.raises(BadVersionNumberError):
        device.updater()


async def test_foreign_repository_is_not_believed(device: Device, tmp_path: Path, clock: Hands) -> None:
    create_trust(tmp_path / "foreign", clock=clock)
    device.fetcher.folder = tmp_path / "foreign" / "repository"

    with pytest.raises(UnsignedMetadataError):
        device.updater()


async def test_desired_state_verifies_with_the_key_of_the_repository(trust: Trust, device: Device) -> None:
    signed = trust.desired_state.sign(
        {
            "device_id": "d",
            "generation": 1,
            "issued_at": "2026-11-22T14:00:00Z",
            "expires_at": "2026-12-22T14:00:00Z",
            "algorithms": [],
        }
    )

    keys = json.loads(device.read("trust/desired-state-keys.json"))["keys"]
    key = Key.from_dict(signed.key_id, keys[signed.key_id])
    key.verify_signature(Signature(signed.key_id, signed.signature.hex()), signed.document)
    assert json.loads(signed.document)["type"] == "lodeworks.desired-state"


def test_malformed_desired_state_is_not_signed(trust: Trust) -> None:
    with pytest.raises(InvalidError) as caught:
        trust.desired_state.sign({"device_id": "d", "generation": "1"})

    assert caught.value.field == "generation"


def test_init_may_be_repeated(trust: Trust, tmp_path: Path, clock: Hands) -> None:
    again = create_trust(tmp_path / "trust", clock=clock)

    assert again.authority.fingerprint == trust.authority.fingerprint
    assert again.desired_state.key_id == trust.desired_state.key_id
    keys = list((tmp_path / "trust" / "keys").iterdir())
    assert len(keys) == 6
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)
