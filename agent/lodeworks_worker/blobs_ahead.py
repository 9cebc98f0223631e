"""Brings the blobs of a run to the controller while the run makes more; what was sent is removed here.

An import of many pictures then needs no room for all of them, its last step is short, and a checkpoint of it names
nothing that the controller does not have.
"""

import asyncio
import logging
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lodeworks_formats import task_inputs
from lodeworks_formats.blob_pack import pack_path, packed_blobs, packs, remove_pack
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import sha256_file

from lodeworks_worker.control_plane import BlobTransfer, LocalFile, Scope
from lodeworks_worker.errors import WorkerError
from lodeworks_worker.grant import Grant
from lodeworks_worker.putting_down import in_thread

_PAUSE_S: Final = 0.25
_AWAY_S: Final = 2.0
_FILES_AT_ONCE: Final = 512
_PACKS_AT_ONCE: Final = 8
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def has_blobs(grant: Grant) -> bool:
    """Says whether a run may leave blobs beside its outputs."""
    return any(slot.role == task_inputs.BLOBS_SLOT for slot in grant.run.outputs)


@dataclass(slots=True)
class BlobsAhead:
    """Sends what lies whole in a run's folder of blobs: packs, and files whose bytes have the digest of their name.

    What is in a pack the controller compares with its digest, as everything that it is sent.
    """

    folder: Path
    scope: Scope
    transfer: BlobTransfer
    log: logging.Logger
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keep(self) -> None:
        """Works until cancelled. What fails is tried again, at the latest when the run is over."""
        while True:
            pause_s = _PAUSE_S
            try:
                if await self.send(at_most=_FILES_AT_ONCE) == _FILES_AT_ONCE:
                    continue
            except (WorkerError, OSError) as error:
                self.log.info("the blobs of %s stay here for now: %s", self.scope.task_id, error)
                pause_s = _AWAY_S
            await asyncio.sleep(pause_s)

    async def send(self, *, at_most: int | None = None) -> int:
        """Sends what is there now and returns how much it was; what is still being written stays.

        Raises:
            WorkerError: The controller could not be reached or refused.
        """
        async with self._turn:
            sent = await self._send_packs(at_most)
            if at_most is not None and sent >= at_most:
                return sent
            names = await in_thread(_listed, self.folder, at_most)
            for start in range(0, len(names), _FILES_AT_ONCE):
                files = await in_thread(_whole, self.folder, names[start : start + _FILES_AT_ONCE])
                if files:
                    await self.transfer.send(self.scope, files)
                    await in_thread(_removed, files)
                sent += len(files)
            return sent

    async def _send_packs(self, at_most: int | None) -> int:
        sent = 0
        names = await in_thread(packs, self.folder)
        for start in range(0, len(names), _PACKS_AT_ONCE):
            some = names[start : start + _PACKS_AT_ONCE]
            files = await in_thread(self._of_packs, some)
            if files:
                await self.transfer.send(self.scope, files)
            await in_thread(_removed_packs, self.folder, some)
            sent += len(files)
            if at_most is not None and sent >= at_most:
                break
        return sent

    def _of_packs(self, names: Sequence[str]) -> list[LocalFile]:
        found = []
        for name in names:
            path = pack_path(self.folder, name)
            try:
                told = packed_blobs(self.folder, name)
            except (FormatError, OSError) as error:
                # The controller misses what is in it, and says which picture of the outputs that is.
                self.log.warning("a pack of %s is of no use: %s", self.scope.task_id, error)
                continue
            found += [LocalFile(one.digest, one.size_bytes, path, one.offset) for one in told]
        return found


def _listed(folder: Path, at_most: int | None) -> list[str]:
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if _DIGEST.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                found.append(entry.name)
                if len(found) == at_most:
                    break
    return found


def _whole(folder: Path, names: Sequence[str]) -> list[LocalFile]:
    found = []
    for name in names:
        path = folder / name
        with suppress(FileNotFoundError):
            if sha256_file(path) == name:
                found.append(LocalFile(name, path.stat().st_size, path))
    return found


def _removed_packs(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        remove_pack(folder, name)


def _removed(files: Sequence[LocalFile]) -> None:
    for file in files:
        file.path.unlink(missing_ok=True)
