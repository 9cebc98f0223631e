import os
from datetime import UTC, datetime

import pytest
from lodeworks_device.errors import StepError
from lodeworks_device.reasons import Reason
from lodeworks_device.states import AlgorithmState, Goal, Phase, Version, Wanted
from lodeworks_device.store.blobs import Blobs, KillPoint, go_on
from lodeworks_device.store.packages import Packages
from lodeworks_device.store.plain import state_from_json, state_to_json
from lodeworks_device.store.state_file import StateFile, look
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.package import Health, InputSpec, PackageFile, PackageManifest, Runtime

AT = datetime(2026, 3, 1, tzinfo=UTC)
CONTENTS = {"weights.bin": os.urandom(300_000), "labels.txt": b"RBC\n", "probe.png": b"png", "expected.json": b"{}"}
ROLES = dict(zip(CONTENTS, ("weights", "labels", "probe-input", "expected-output"), strict=True))
MANIFEST = PackageManifest(
    target="onnx",
    precision="fp32",
    runtime=Runtime("onnxruntime"),
    io=InputSpec("images", 32, 32),
    classes=("RBC",),
    health=Health("probe.png", "expected.json"),
    files=tuple(PackageFile(name, sha256_hex(data), len(data), ROLES[name]) for name, data in CONTENTS.items()),
)
PACKAGE_ID = MANIFEST.package_id
SENT = {sha256_hex(data): data for data in (*CONTENTS.values(), MANIFEST.to_bytes())}
MANIFEST_BYTES = len(MANIFEST.to_bytes())


class Killed(BaseException):
    """The process was killed here."""


class Sender:
    """Sends blobs in pieces and notes from where it was asked to."""

    def __init__(self, contents=SENT, *, piece=100_000):
        self.contents = contents
        self.piece = piece
        self.asked = []

    async def __call__(self, digest, offset, size_bytes):
        self.asked.append((digest, offset))
        data = self.contents[digest]
        for start in range(offset, len(data), self.piece):
            yield data[start : start + self.piece]


class Killer:
    """Kills at the n-th time that a point is reached."""

    def __init__(self, point, times=1):
        self.point = point
        self.left = times

    def __call__(self, point):
        if point is self.point:
            self.left -= 1
            if self.left == 0:
                raise Killed


def opened(folder, *, reach=go_on):
    blobs = Blobs(folder / "blobs", parts=folder / "tmp", reach=reach)
    packages = Packages(folder / "packages", blobs=blobs, scratch=folder / "tmp", reach=reach)
    return blobs, packages, StateFile(folder, packages=folder / "packages", reach=reach)


def state(number=1, *, phase=Phase.COMMITTED):
    version = Version(PACKAGE_ID, f"cells@{number}")
    return AlgorithmState(
        "cells", Wanted("cells", version, Goal.RUNNING, number), phase, AT, committed=version, committed_at=AT
    )


async def install(folder, sender, *, reach=go_on):
    """Does everything that a deployment does with the store."""
    blobs, packages, file = opened(folder, reach=reach)
    try:
        file.open(at=AT)
        manifest = await packages.manifest(PACKAGE_ID, size_bytes=MANIFEST_BYTES, source=sender)
        await packages.fetch(manifest, source=sender)
        path = await packages.assemble(PACKAGE_ID, manifest)
        file.save([state()], generation=7)
        return path
    finally:
        file.close()
        blobs.close()


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("point", list(KillPoint))
async def test_killed_anywhere_and_done_again_it_is_as_if_done_once(tmp_path, point, times):
    sender = Sender()
    for _ in range(2):
        try:
            await install(tmp_path, sender, reach=Killer(point, times))
        except Killed:
            continue
    path = await install(tmp_path, sender)
    for name, data in CONTENTS.items():
        assert (path / name).read_bytes() == data
    stored = look(tmp_path)
    assert (stored.generation, stored.algorithms) == (7, {"cells": state()})
    assert [link.name for link in (tmp_path / "committed").iterdir()] == ["cells@1"]
    assert (tmp_path / "committed" / "cells@1").resolve() == path.resolve()


async def test_every_kill_point_is_reached(tmp_path):
    reached = set()
    await install(tmp_path, Sender(), reach=reached.add)
    assert reached == set(KillPoint)


async def test_a_download_goes_on_where_it_broke_off(tmp_path):
    digest = sha256_hex(CONTENTS["weights.bin"])
    sender = Sender()
    with pytest.raises(Killed):
        await install(tmp_path, sender, reach=Killer(KillPoint.APPENDED, 6))
    await install(tmp_path, sender)
    assert [offset for asked, offset in sender.asked if asked == digest] == [0, 200_000]


@pytest.mark.parametrize("sent", [b"x" * 300_000, CONTENTS["weights.bin"] + b"more"])
async def test_what_is_not_what_was_named_is_refused_and_not_kept(tmp_path, sent):
    digest = sha256_hex(CONTENTS["weights.bin"])
    blobs, _, _ = opened(tmp_path)
    with pytest.raises(StepError) as raised:
        await blobs.fetch(digest, size_bytes=300_000, source=Sender({digest: sent}))
    assert raised.value.reason is Reason.DIGEST_MISMATCH
    assert not list((tmp_path / "tmp").iterdir())
    assert not blobs.has(digest, size_bytes=300_000)
    blobs.close()


async def test_a_full_disk_shows_before_bytes_move(tmp_path):
    blobs, _, _ = opened(tmp_path)
    sender = Sender()
    digest = next(iter(SENT))
    with pytest.raises(StepError) as raised:
        await blobs.fetch(digest, size_bytes=1 << 60, source=sender)
    assert raised.value.reason is Reason.DISK_FULL
    assert sender.asked == []
    blobs.close()


async def test_a_flipped_bit_at_rest_is_found_and_fetched_again(tmp_path):
    path = await install(tmp_path, Sender())
    (path / "labels.txt").write_bytes(b"???\n")
    blobs, packages, _ = opened(tmp_path)
    with pytest.raises(StepError) as raised:
        await packages.assemble(PACKAGE_ID, MANIFEST)
    assert raised.value.reason is Reason.DIGEST_MISMATCH
    blobs.close()
    assert (await install(tmp_path, Sender()) / "labels.txt").read_bytes() == CONTENTS["labels.txt"]


async def test_what_nobody_needs_is_deleted(tmp_path):
    await install(tmp_path, Sender())
    blobs, packages, _ = opened(tmp_path)
    assert await packages.keep_only(frozenset({PACKAGE_ID})) == 0
    assert packages.path(PACKAGE_ID).is_dir()
    assert await packages.keep_only(frozenset()) == sum(map(len, SENT.values()))
    assert not list((tmp_path / "packages").iterdir())
    blobs.close()


def damage(path, how):
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "nulls": bytes(len(data)), "half": data[: len(data) // 2]}[how])


@pytest.mark.parametrize("how", ["empty", "nulls", "half"])
@pytest.mark.parametrize("copy_too", ["good copy", "links only"])
async def test_a_damaged_database_costs_nothing_that_serves(tmp_path, how, copy_too):
    await install(tmp_path, Sender())
    for path in tmp_path.glob("state.db-*"):
        path.unlink()
    damage(tmp_path / "state.db", how)
    if copy_too == "links only":
        damage(tmp_path / "state.good.db", how)
    _, _, file = opened(tmp_path)
    stored = file.open(at=AT)
    file.close()
    assert stored.generation == 7
    assert stored.algorithms["cells"].served == Version(PACKAGE_ID, "cells@1")
    assert look(tmp_path).algorithms.keys() == {"cells"}


def test_a_removed_algorithm_leaves_no_record(tmp_path):
    _, _, file = opened(tmp_path)
    file.open(at=AT)
    (tmp_path / "packages" / PACKAGE_ID).mkdir()
    file.save([state()], generation=1)
    file.save([state(2)], generation=2)
    assert [path.name for path in (tmp_path / "committed").iterdir()] == ["cells@2"]
    file.save(removed=["cells"], generation=3)
    assert not list((tmp_path / "committed").iterdir())
    file.close()
    assert look(tmp_path).algorithms == {}


def test_states_are_written_as_they_are():
    whole = AlgorithmState(
        "a/b",
        Wanted("a/b", Version("0" * 64, "a/b@2", "releases/a/b/2.json"), Goal.STOPPED, 4, 0.5, {"soak_s": 1}),
        Phase.FAILED,
        AT,
        previous=Version("1" * 64, "a/b@1"),
        reason=Reason.EXPIRED,
        message="too late",
        gate={"ok": False},
        committed_at=AT,
    )
    assert state_from_json(state_to_json(whole)) == whole
