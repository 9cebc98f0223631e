"""Brings the checkpoints of a run to the controller while it runs, so that another worker can go on from there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from lodeworks_formats.manifest import sha256_file

from lodeworks_worker.control_plane import BlobTransfer, ControlPlane, LocalFile, Scope
from lodeworks_worker.errors import LeaseLostError, SessionLostError, UnreachableError, WorkerError
from lodeworks_worker.harvest.checkpoint import mark_of, pack_checkpoint
from lodeworks_worker.putting_down import in_thread


@dataclass(slots=True)
class CheckpointKeeper:
    """Looks for a new checkpoint every `every_s` and sends it; `say` adds a line to the run's own log.

    `first` brings to the controller what the run had left before the checkpoint, since no later attempt makes it again.
    """

    folder: Path
    scope: Scope
    control: ControlPlane
    transfer: BlobTransfer
    every_s: float
    say: Callable[[str], None]
    log: logging.Logger
    first: Callable[[], Awaitable[object]] | None = None
    _sent: bytes = b""

    async def keep(self) -> None:
        """Works until cancelled. What fails is tried again: the run itself does not depend on it."""
        while True:
            await asyncio.sleep(self.every_s)
            try:
                await self.look()
            except (WorkerError, OSError) as error:
                self.log.info("the checkpoint of %s stays here for now: %s", self.scope.task_id, error)

    async def last_look(self) -> None:
        """Sends what a run that did not end well has left. Raises UnreachableError, LeaseLostError: come again."""
        try:
            await self.look()
        except (UnreachableError, SessionLostError, LeaseLostError):
            raise
        except (WorkerError, OSError) as error:
            self.log.warning("the last checkpoint of %s is lost: %s", self.scope.task_id, error)

    async def look(self) -> bool:
        """Sends the checkpoint if there is a new one; says whether it did."""
        written = self.folder / "out" / "lode" / "checkpoint"
        mark = mark_of(written)
        if not mark or mark == self._sent:
            return False
        packed = self.folder / "checkpoint.tar"
        try:
            if not await in_thread(pack_checkpoint, written, packed):
                return False
            if self.first is not None:
                await self.first()
            file = await in_thread(_named, packed)
            await self.transfer.send(self.scope, [file])
            await self.control.save_checkpoint(self.scope, digest=file.digest, size_bytes=file.size_bytes)
        finally:
            packed.unlink(missing_ok=True)
        self._sent = mark
        self.say(f"sent a checkpoint of {file.size_bytes} bytes")
        return True


def _named(path: Path) -> LocalFile:
    return LocalFile(sha256_file(path), path.stat().st_size, path)
