"""Blobs as files, one per blob: ``sha256/<first two>/<digest>``; temporaries and unfinished writes beside them.

Publish is per batch: temporaries, one sync, rename, sync of the folders, then the answer. A crash leaves at most
temporaries, which the next start removes, and unfinished writes, which go on.
"""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from hmac import compare_digest
from pathlib import Path
from typing import Final

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import Blob, Location
from lodeworks_controller.storage.blobs.folder import (
    FreeBytes,
    disk_full,
    free_bytes,
    full_disk_as_refusal,
    sync_file,
    sync_files,
    sync_folder,
    sync_folders,
    unproved,
)
from lodeworks_controller.storage.blobs.unfinished import UnfinishedWrite

RESERVE_BYTES: Final = 64 << 20
"""What the store leaves free on its disk, so that the database can still say why something failed."""

_MODE: Final = 0o444  # a blob never changes


class DiskBlobStore:
    """Keeps blobs below a folder of one filesystem.

    Args:
        root: The folder.
        ids: Names for temporaries.
        owner: Which controller this is: its temporaries are its own, also on a folder that several share.
        reserve_bytes: What must stay free on the disk.
        free: How much is free.
    """

    def __init__(
        self,
        root: Path,
        *,
        ids: Ids,
        owner: str = "one",
        reserve_bytes: int = RESERVE_BYTES,
        free: FreeBytes = free_bytes,
    ) -> None:
        self._root = root
        self._nonce = root / "nonce"
        self._content = root / "sha256"
        self._temporaries = root / "tmp" / owner
        self._writes = root / "writes"
        self._ids = ids
        self._reserve_bytes = reserve_bytes
        self._free = free
        self._writing = dict[Path, UnfinishedWrite]()

    def open(self) -> None:
        """Makes the folders and removes what a crash left of unpublished batches. Blocks; called once at start."""
        shutil.rmtree(self._temporaries, ignore_errors=True)
        for folder in (self._temporaries, self._writes):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(256):
            (self._content / f"{number:02x}").mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(self._content)
        if not self._nonce.exists():
            # Who can read it can read the blobs as well: no others may.
            temporary = self._temporary()
            temporary.touch(mode=0o600)
            temporary.write_text(f"{self._ids()}{self._ids()}")
            temporary.rename(self._nonce)

    async def find_missing(self, digests: Iterable[str]) -> set[str]:
        """Returns those that are not stored."""
        return await asyncio.to_thread(lambda: {digest for digest in digests if not self._path(digest).exists()})

    async def locate(self, digest: str) -> Location:
        """Returns where a blob lies, or raises NotFoundError BLOB_NOT_FOUND."""
        path = self._path(digest)
        try:
            size_bytes = (await asyncio.to_thread(path.stat)).st_size
        except FileNotFoundError as error:
            raise _not_found(digest) from error
        return Location(path, 0, size_bytes)

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Returns digest → length of those that are stored."""
        return await asyncio.to_thread(self._sizes, list(digests))

    async def shared_root(self, nonce: str) -> Path:
        """Returns the store's folder to who knows what its file ``nonce`` holds."""
        held = await asyncio.to_thread(self._nonce.read_text)
        if not nonce or not compare_digest(nonce.encode(), held.encode()):
            raise unproved()
        return self._root

    async def contents(self) -> AsyncIterator[Sequence[Blob]]:
        """Yields all that is stored, a folder at a time."""
        for number in range(256):
            yield await asyncio.to_thread(_listed, self._content / f"{number:02x}")

    async def delete(self, digests: Iterable[str]) -> None:
        """Removes blobs."""
        await asyncio.to_thread(self._delete, list(digests))

    async def compact(self) -> None:
        """Does nothing: a removed file takes no room."""

    async def prune_writes(self, *, before: datetime) -> int:
        """Removes unfinished writes that nobody went on with since a moment."""
        return await asyncio.to_thread(self._prune_writes, before.timestamp())

    async def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes."""
        return (await self.put_many([data]))[0]

    async def put_many(self, contents: Sequence[bytes], *, digests: Sequence[str] | None = None) -> list[Blob]:
        """Stores several at once, with one sync: all of them, or none."""
        return await asyncio.to_thread(self._put_many, contents, digests)

    async def put_file(self, path: Path, *, move: bool = False) -> Blob:
        """Stores a file; a moved one is renamed where the filesystem is the same, else copied and removed."""
        return await asyncio.to_thread(self._put_file, path, self._take if move else self._copy)

    async def read(self, digest: str, *, offset: int = 0, limit: int = 0) -> bytes:
        """Returns bytes from an offset, at most limit (0 = to the end), or raises NotFoundError BLOB_NOT_FOUND."""
        return await asyncio.to_thread(self._read, digest, offset, limit)

    @asynccontextmanager
    async def begin_write(self, digest: str, *, size_bytes: int, owner: str) -> AsyncIterator[UnfinishedWrite]:
        """Goes on with the owner's write of a blob, or begins it; left uncommitted it waits to go on."""
        path = self._part(digest, owner)
        older = self._writing.get(path)
        writing = UnfinishedWrite(path, self._path(digest), digest=digest, size_bytes=size_bytes)
        self._writing[path] = writing
        try:
            if older is not None:
                await older.supersede()
            await writing.open()
            self._require_room(size_bytes - writing.committed_bytes)
            yield writing
        finally:
            await writing.close()
            if self._writing.get(path) is writing:
                del self._writing[path]
                if writing.committed_bytes == 0:
                    path.unlink(missing_ok=True)

    async def written_bytes(self, digest: str, *, owner: str) -> int:
        """Returns how much of an owner's unfinished write is there; 0 when there is none."""
        path = self._part(digest, owner)
        writing = self._writing.get(path)
        if writing is not None:
            # The earlier stream may still be draining: the answer must not change after it was given.
            await writing.supersede()
        try:
            return (await asyncio.to_thread(path.stat)).st_size
        except FileNotFoundError:
            return 0

    def _sizes(self, digests: Sequence[str]) -> dict[str, int]:
        found = dict[str, int]()
        for digest in digests:
            with suppress(FileNotFoundError):
                found[digest] = self._path(digest).stat().st_size
        return found

    def _delete(self, digests: Sequence[str]) -> None:
        for digest in digests:
            self._path(digest).unlink(missing_ok=True)

    def _prune_writes(self, before: float) -> int:
        old = [part for part in self._writes.iterdir() if part not in self._writing and part.stat().st_mtime < before]
        for part in old:
            part.unlink(missing_ok=True)
        return len(old)

    def _put_many(self, contents: Sequence[bytes], digests: Sequence[str] | None) -> list[Blob]:
        blobs = [Blob(hashlib.sha256(data).hexdigest(), len(data)) for data in contents]
        if digests is not None:
            for blob, digest in zip(blobs, digests, strict=True):
                if blob.digest != digest:
                    raise InvalidError("DIGEST_MISMATCH", f"the bytes sent as {digest} have digest {blob.digest}")
        new = {
            blob.digest: data
            for blob, data in zip(blobs, contents, strict=True)
            if not self._keep(self._path(blob.digest))
        }
        self._require_room(sum(len(data) for data in new.values()))
        temporaries = dict[str, Path]()
        try:
            with full_disk_as_refusal():
                for digest, data in new.items():
                    temporaries[digest] = self._temporary()
                    _write(temporaries[digest], data)
                sync_files(list(temporaries.values()), folder=self._temporaries)
                self._publish(temporaries)
        finally:
            for temporary in temporaries.values():
                temporary.unlink(missing_ok=True)
        return blobs

    def _put_file(self, path: Path, bring: Callable[[Path, Path], None]) -> Blob:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell()
        if self._keep(self._path(digest)):
            if bring == self._take:
                path.unlink()
            return Blob(digest, size_bytes)
        temporary = self._temporary()
        try:
            with full_disk_as_refusal():
                bring(path, temporary)
                temporary.chmod(_MODE)
                sync_file(temporary)
                self._publish({digest: temporary})
        finally:
            temporary.unlink(missing_ok=True)
        return Blob(digest, size_bytes)

    def _copy(self, path: Path, temporary: Path) -> None:
        self._require_room(path.stat().st_size)
        shutil.copyfile(path, temporary)

    def _take(self, path: Path, temporary: Path) -> None:
        try:
            path.rename(temporary)
        except OSError:  # another filesystem
            self._copy(path, temporary)
            path.unlink()

    def _publish(self, temporaries: dict[str, Path]) -> None:
        for digest, temporary in temporaries.items():
            temporary.rename(self._path(digest))
        sync_folders((self._path(digest).parent for digest in temporaries), root=self._content)

    def _keep(self, path: Path) -> bool:
        """Says whether a blob is there, and makes it young again, so that the collector leaves it to its new owner."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _read(self, digest: str, offset: int, limit: int) -> bytes:
        try:
            with self._path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(limit or -1)
        except FileNotFoundError as error:
            raise _not_found(digest) from error

    def _require_room(self, size_bytes: int) -> None:
        if size_bytes > 0 and self._free(self._temporaries) - size_bytes < self._reserve_bytes:
            raise disk_full()

    def _temporary(self) -> Path:
        return self._temporaries / self._ids()

    def _path(self, digest: str) -> Path:
        return self._content / digest[:2] / digest

    def _part(self, digest: str, owner: str) -> Path:
        # Apart per owner: nobody can spoil another's unfinished write, nor learn how far it is.
        return self._writes / hashlib.sha256(f"{owner}\n{digest}".encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _listed(folder: Path) -> list[Blob]:
    with os.scandir(folder) as entries:
        return [Blob(entry.name, entry.stat().st_size) for entry in entries]


def _not_found(digest: str) -> NotFoundError:
    return NotFoundError("BLOB_NOT_FOUND", f"there is no content {digest} in the store", digest=digest)
