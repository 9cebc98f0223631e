"""Blobs by sha256: space claimed first, hashed as they stream, capped, on disk before they count, taken up again."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from lodeworks.channel.part_file import claim_space

from lodeworks_device.errors import StepError
from lodeworks_device.files import sync_folder
from lodeworks_device.reasons import Reason

if TYPE_CHECKING:
    from hashlib import _Hash as Hasher

_T = TypeVar("_T")
_CHUNK_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class KillPoint(Enum):
    """Where a kill may come between; a test dies at each of them and goes on."""

    CLAIMED = "claimed"
    APPENDED = "appended"
    SYNCED = "synced"
    RENAMED = "renamed"
    LINKED = "linked"
    ASSEMBLED = "assembled"
    STORED = "stored"
    COPIED = "copied"
    COMMITTED_LINKED = "committed-linked"


Reach = Callable[[KillPoint], None]
"""Called at each kill point; in a running agent it does nothing."""

Source = Callable[[str, int, int], AsyncIterator[bytes]]
"""Yields the bytes of a blob: digest, offset, size of the whole."""


def go_on(_: KillPoint) -> None:
    """Does nothing: where no test kills."""


class Blobs:
    """The blobs under `folder`, parts under `parts`. All file work is done by one thread, in order."""

    def __init__(self, folder: Path, *, parts: Path, reach: Reach = go_on) -> None:
        self._folder = folder
        self._parts = parts
        self._reach = reach
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="blobs")
        for each in (folder, parts):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, digest: str) -> Path:
        """Returns where a blob lies or would lie."""
        return self._folder / digest[:2] / digest

    def has(self, digest: str, *, size_bytes: int) -> bool:
        """Says whether a blob of that length is there; its bytes are proved when a package is assembled."""
        try:
            return self.path(digest).stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    async def fetch(self, digest: str, *, size_bytes: int, source: Source) -> None:
        """Makes a blob be there; goes on where an earlier try broke off.

        Raises StepError DISK_FULL, or DIGEST_MISMATCH when what came is not what was named.
        """
        if self.has(digest, size_bytes=size_bytes):
            return
        part = self._parts / f"{digest}.part"
        file, hasher, offset = await self._do(lambda: _open_part(part, size_bytes))
        try:
            self._reach(KillPoint.CLAIMED)
            async for data in source(digest, offset, size_bytes):
                await self._do(lambda data=data: _append(file, hasher, data))  # type: ignore[misc]
                self._reach(KillPoint.APPENDED)
            await self._do(lambda: _seal(file))
            self._reach(KillPoint.SYNCED)
        finally:
            self._thread.submit(file.close)
        if hasher.hexdigest() != digest:
            await self._do(part.unlink)
            raise StepError(
                Reason.DIGEST_MISMATCH,
                f"the blob {digest[:12]} arrived with the digest {hasher.hexdigest()[:12]}; the sender's copy is bad",
            )
        await self._do(lambda: self._publish(part, digest))

    async def drop(self, digest: str) -> None:
        """Forgets a blob whose bytes turned out to be bad."""
        await self._do(lambda: self.path(digest).unlink(missing_ok=True))

    async def collect(self) -> int:
        """Deletes blobs that no package links, and parts of broken-off downloads; returns the bytes set free."""
        return await self._do(self._collect)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()

    def _publish(self, part: Path, digest: str) -> None:
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        part.replace(path)
        self._reach(KillPoint.RENAMED)
        sync_folder(path.parent)
        sync_folder(self._folder)

    def _collect(self) -> int:
        freed = 0
        for path in [*self._parts.glob("*.part"), *self._folder.glob("*/*")]:
            told = path.stat()
            if told.st_nlink == 1:
                path.unlink()
                freed += told.st_size
        return freed

    async def _do(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise StepError(Reason.DISK_FULL, "the disk is full; make room and deploy again") from error


def _open_part(part: Path, size_bytes: int) -> tuple[BinaryIO, "Hasher", int]:
    """Opens what an earlier try left, hashes it again, and claims the space of the whole."""
    file = part.open("a+b")
    try:
        hasher = hashlib.sha256()
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
        offset = file.tell()
        if offset > size_bytes:
            file.truncate(0)
            hasher, offset = hashlib.sha256(), 0
        claim_space(file.fileno(), size_bytes=size_bytes)
    except BaseException:
        file.close()
        raise
    return file, hasher, offset


def _append(file: BinaryIO, hasher: "Hasher", data: bytes) -> None:
    hasher.update(data)
    file.write(data)
    file.flush()


def _seal(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
