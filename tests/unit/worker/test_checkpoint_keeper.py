"""Checkpoints of a run that goes on: only whole ones leave the worker, each once."""

import asyncio
import logging
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from lodeworks_executor.checkpoint import Checkpoint
from lodeworks_worker.checkpoint_keeper import CheckpointKeeper
from lodeworks_worker.control_plane import LocalFile, Scope
from lodeworks_worker.errors import LeaseLostError, UnreachableError
from lodeworks_worker.grant import Grant, RunSpec
from lodeworks_worker.harvest.checkpoint import pack_checkpoint
from made_controller import MadeController

SCOPE = Scope("t", 1)


class Sent:
    """Keeps what is sent to the store."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.away = False

    async def send(self, scope: Scope, files: Sequence[LocalFile]) -> None:
        if self.away:
            raise UnreachableError("nobody answers")
        self.contents.extend(one.path.read_bytes() for one in files)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "lode" / "checkpoint"
    folder.mkdir(parents=True)
    return folder


def save(folder: Path, label: str, text: str) -> None:
    with Checkpoint(inputs=folder / "none", outputs=folder).saving(label) as made:
        (made / "state").write_text(text)


def keeper(tmp_path: Path, controller: MadeController, sent: Sent) -> CheckpointKeeper:
    return CheckpointKeeper(
        folder=tmp_path,
        scope=SCOPE,
        control=controller,
        transfer=sent,  # type: ignore[arg-type]  # it only sends
        every_s=0.01,
        say=lambda _: None,
        log=logging.getLogger(),
    )


def names_in(tar: Path) -> set[str]:
    with tarfile.open(tar) as opened:
        return set(opened.getnames())


def test_a_folder_without_done_is_no_checkpoint(tmp_path: Path, written: Path) -> None:
    (written / "half").write_text("x")
    assert not pack_checkpoint(written, tmp_path / "a.tar")
    assert not pack_checkpoint(tmp_path / "nowhere", tmp_path / "a.tar")


def test_a_packed_checkpoint_reads_back_and_is_the_same_each_time(tmp_path: Path, written: Path) -> None:
    save(written, "epoch_1", "one")
    assert pack_checkpoint(written, tmp_path / "a.tar")
    assert pack_checkpoint(written, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert names_in(tmp_path / "a.tar") == {"DONE", "epoch_1-state"}
    with tarfile.open(tmp_path / "a.tar") as tar:
        tar.extractall(tmp_path / "back", filter="data")
    found = Checkpoint(inputs=tmp_path / "back", outputs=tmp_path / "fresh").find()
    assert found is not None
    assert found.files["state"].read_text() == "one"


async def test_each_new_checkpoint_is_sent_once(tmp_path: Path, written: Path) -> None:
    controller, sent = MadeController(), Sent()
    controller.leased["t", 1] = Grant("t", 1, RunSpec("builtin:x"))
    keeps = keeper(tmp_path, controller, sent)
    assert not await keeps.look()
    save(written, "epoch_1", "one")
    assert await keeps.look()
    assert not await keeps.look()
    save(written, "epoch_2", "two")
    assert await keeps.look()
    assert len(controller.checkpoints) == 2
    assert len(sent.contents) == 2
    assert not (tmp_path / "checkpoint.tar").exists()


async def test_what_did_not_arrive_is_sent_again(tmp_path: Path, written: Path) -> None:
    controller, sent = MadeController(), Sent()
    controller.leased["t", 1] = Grant("t", 1, RunSpec("builtin:x"))
    keeps = keeper(tmp_path, controller, sent)
    save(written, "epoch_1", "one")
    sent.away = True
    with pytest.raises(UnreachableError):
        await keeps.look()
    sent.away = False
    assert await keeps.look()


async def test_keeping_goes_on_when_a_lease_that_was_thought_lost_is_given_back(tmp_path: Path, written: Path) -> None:
    controller, sent = MadeController(), Sent()
    save(written, "epoch_1", "one")
    keeps = keeper(tmp_path, controller, sent)
    with pytest.raises(LeaseLostError):
        await keeps.last_look()
    keeping = asyncio.create_task(keeps.keep())
    async with asyncio.timeout(10):
        while controller.stale < 3:  # noqa: ASYNC110 - a condition with a limit
            await asyncio.sleep(0.005)
        assert controller.checkpoints == []
        controller.leased["t", 1] = Grant("t", 1, RunSpec("builtin:x"))
        while not controller.checkpoints:  # noqa: ASYNC110 - a condition with a limit
            await asyncio.sleep(0.005)
    keeping.cancel()
