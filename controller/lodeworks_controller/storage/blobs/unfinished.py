"""One blob on its way into the disk store."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from lodeworks_controller.errors import ConflictError, GapError, InvalidError
from lodeworks_controller.service.blob_store import Blob
from lodeworks_controller.storage.blobs.folder import (
    begin_writing_back,
    full_disk_as_refusal,
    sync_file,
    sync_folder,
)

if TYPE_CHECKING:
    from hashlib import _Hash as Hasher
    from io import FileIO

_T = TypeVar("_T")

_CHUNK_BYTES: Final = 1 << 20
_WRITE_BACK_BYTES: Final = 16 << 20


class UnfinishedWrite:
    """A part file that grows; its digest is computed along the way.

    A caller that is cancelled does not stop what its thread does to the file: each step runs shielded under one lock,
    so that whoever comes next, be it the closing, finds the step done.

    Args:
        part: The part file, which outlives this write unless it is committed.
        path: Where the whole goes.
        digest: sha256 that the whole must have.
        size_bytes: Length of the whole.
    """

    def __init__(self, part: Path, path: Path, *, digest: str, size_bytes: int) -> None:
        self._part = part
        self._path = path
        self._digest = digest
        self._size_bytes = size_bytes
        self._file: FileIO | None = None
        self._hasher: Hasher = hashlib.sha256()
        self._committed_bytes = 0
        self._given_back = 0
        self._superseded = False
        self._busy = asyncio.Lock()

    @property
    def committed_bytes(self) -> int:
        """How much is there."""
        return self._committed_bytes

    async def open(self) -> None:
        """Opens what an earlier try left and hashes it again; longer than the whole, it is worthless."""
        await asyncio.shield(self._locked(lambda: asyncio.to_thread(self._take_up)))

    async def append(self, offset: int, data: bytes) -> None:
        """Adds bytes; what is there already is skipped, missing bytes before the offset raise GapError."""
        await asyncio.shield(self._locked(lambda: self._append(offset, data)))

    async def commit(self) -> Blob:
        """Checks the whole and puts it in place, durably; a wrong one is forgotten."""
        return await asyncio.shield(self._locked(self._commit))

    async def supersede(self) -> None:
        """Ends this write in favour of a newer one; what is there stays for it."""
        self._superseded = True
        await self.close()

    async def close(self) -> None:
        """Lets go of the part file, which stays."""
        await asyncio.shield(self._locked(self._close))

    async def _locked(self, step: Callable[[], Awaitable[_T]]) -> _T:
        async with self._busy:
            return await step()

    async def _append(self, offset: int, data: bytes) -> None:
        self._require_open()
        if offset > self._committed_bytes or offset < 0:
            raise GapError(
                "WRITE_GAP",
                f"bytes {self._committed_bytes} to {offset} are missing; go on from {self._committed_bytes}",
                committed_bytes=self._committed_bytes,
                committed_size=self._committed_bytes,
            )
        fresh = data[self._committed_bytes - offset :]
        if self._committed_bytes + len(fresh) > self._size_bytes:
            raise InvalidError(
                "BLOB_TOO_LONG", f"more bytes came than the {self._size_bytes} that were declared", field="data"
            )
        if fresh:
            await asyncio.to_thread(self._add, fresh)

    async def _commit(self) -> Blob:
        self._require_open()
        digest = self._hasher.hexdigest()
        if self._committed_bytes != self._size_bytes or digest != self._digest:
            await asyncio.to_thread(self._forget)
            raise InvalidError(
                "DIGEST_MISMATCH", f"the bytes sent as {self._digest} have digest {digest}; send them again"
            )
        await asyncio.to_thread(self._publish)
        return Blob(digest, self._size_bytes)

    async def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _take_up(self) -> None:
        file = self._part.open("a+b", buffering=0)
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            self._hasher.update(chunk)
        self._committed_bytes = file.tell()
        if self._committed_bytes > self._size_bytes:
            file.truncate(0)
            self._hasher, self._committed_bytes = hashlib.sha256(), 0
        self._file = file

    def _require_open(self) -> None:
        if self._superseded or self._file is None:
            raise ConflictError("WRITE_SUPERSEDED", "another write of the same content took over; leave it to that one")

    def _add(self, data: bytes) -> None:
        assert self._file is not None
        try:
            with full_disk_as_refusal():
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except Exception:
            # Part of it may stand in the file: what the hasher knows and what the file holds would differ.
            self._forget()
            raise
        self._hasher.update(data)
        self._committed_bytes += len(data)
        fresh = self._committed_bytes - self._given_back
        if fresh >= _WRITE_BACK_BYTES:
            begin_writing_back(self._file.fileno(), offset=self._given_back, size_bytes=fresh)
            self._given_back = self._committed_bytes

    def _publish(self) -> None:
        assert self._file is not None
        with full_disk_as_refusal():
            sync_file(self._part)
            self._part.chmod(0o444)
            self._part.rename(self._path)
            sync_folder(self._path.parent)

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
