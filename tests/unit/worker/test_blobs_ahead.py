"""Blobs leave the worker while the run goes on: whole ones, each once, before any checkpoint that needs them."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from lodeworks_executor.checkpoint import Checkpoint
from lodeworks_formats.blob_pack import PackWriter, pack_path, packs, read_packed
from lodeworks_worker.blobs_ahead import BlobsAhead, has_blobs
from lodeworks_worker.checkpoint_keeper import CheckpointKeeper
from lodeworks_worker.control_plane import LocalFile, Scope
from lodeworks_worker.errors import UnreachableError
from lodeworks_worker.grant import Grant, OutputSlot, RunSpec
from made_controller import MadeController

SCOPE = Scope("t", 1)


class Sent:
    """Keeps the names of what is sent, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.away = False

    async def send(self, scope: Scope, files: Sequence[LocalFile]) -> None:
        if self.away:
            raise UnreachableError("nobody answers")
        for one in files:
            data = one.path.read_bytes()[one.start : one.start + one.size_bytes]
            assert hashlib.sha256(data).hexdigest() == one.digest
        self.names.extend(one.digest for one in files)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out" / "lode" / "blobs"
    made.mkdir(parents=True)
    return made


def leave(folder: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    return digest


def ahead(folder: Path, sent: Sent) -> BlobsAhead:
    return BlobsAhead(folder=folder, scope=SCOPE, transfer=sent, log=logging.getLogger())  # type: ignore[arg-type]


async def test_whole_blobs_go_and_half_ones_stay(folder: Path, tmp_path: Path) -> None:
    sent = Sent()
    whole, half = leave(folder, b"whole"), leave(folder, b"half")
    (folder / half).write_bytes(b"ha")
    (folder / "notes.txt").write_bytes(b"no blob")
    (tmp_path / "secret").write_bytes(b"of this machine")
    (folder / hashlib.sha256(b"of this machine").hexdigest()).symlink_to(tmp_path / "secret")
    moves = ahead(folder, sent)
    assert await moves.send() == 1
    assert sent.names == [whole]
    assert not (folder / whole).exists()
    (folder / half).write_bytes(b"half")
    assert await moves.send() == 1
    assert await moves.send() == 0
    assert sent.names == [whole, half]


async def test_packs_go_when_they_are_whole(folder: Path) -> None:
    sent, writer = Sent(), PackWriter(folder)
    moves = ahead(folder, sent)
    datas = [b"one", b"", b"three" * 50]
    digests = [hashlib.sha256(data).hexdigest() for data in datas]
    for digest, data in zip(digests, datas, strict=True):
        writer.put(digest, data)
    assert await moves.send() == 0
    writer.flush()
    assert await moves.send() == len(datas)
    assert sent.names == digests
    assert read_packed(folder) == {}
    assert packs(folder) == []


async def test_a_pack_that_is_none_is_left_out(folder: Path) -> None:
    sent, writer = Sent(), PackWriter(folder)
    writer.put(hashlib.sha256(b"cut").hexdigest(), b"cut")
    writer.flush()
    pack_path(folder, packs(folder)[0]).write_bytes(b"cu")
    writer.put(hashlib.sha256(b"whole").hexdigest(), b"whole")
    writer.flush()
    assert await ahead(folder, sent).send() == 1
    assert sent.names == [hashlib.sha256(b"whole").hexdigest()]


async def test_what_could_not_be_sent_stays(folder: Path) -> None:
    sent = Sent()
    digest = leave(folder, b"whole")
    sent.away = True
    with pytest.raises(UnreachableError):
        await ahead(folder, sent).send()
    assert (folder / digest).exists()
    sent.away = False
    assert await ahead(folder, sent).send() == 1


async def test_a_run_that_has_left_nothing_yet(tmp_path: Path) -> None:
    assert await ahead(tmp_path / "nowhere", Sent()).send() == 0


async def test_blobs_go_before_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    controller, sent = MadeController(), Sent()
    controller.leased["t", 1] = Grant("t", 1, RunSpec("builtin:ingest"))
    digest = leave(folder, b"a picture that the checkpoint has done with")
    with Checkpoint(inputs=tmp_path / "none", outputs=folder.parent / "checkpoint").saving("1") as made:
        (made / "state").write_text("1")
    keeper = CheckpointKeeper(
        folder=tmp_path,
        scope=SCOPE,
        control=controller,
        transfer=sent,  # type: ignore[arg-type]  # it only sends
        every_s=0.01,
        say=lambda _: None,
        log=logging.getLogger(),
        first=ahead(folder, sent).send,
    )
    assert await keeper.look()
    assert sent.names[0] == digest
    assert len(sent.names) == 2


def test_only_runs_with_blobs_are_looked_at() -> None:
    grant = Grant("t", 1, RunSpec("builtin:ingest", outputs=(OutputSlot("exchange", required=True),)))
    assert not has_blobs(grant)
    assert has_blobs(Grant("t", 1, RunSpec("builtin:ingest", outputs=(OutputSlot("blobs/*"),))))
