"""What keeps content by sha256: on disk or in an object store, and what both promise."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from lodeworks_controller.errors import InvalidError

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob: its sha256 in hex and its length."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of a blob lie: a range of a file. Nobody outside the store builds a path from a digest."""

    path: Path
    offset: int
    size_bytes: int


class BlobWrite(Protocol):
    """One blob being written, from where an earlier try ended."""

    @property
    def committed_bytes(self) -> int:
        """How much is there."""
        ...

    async def append(self, offset: int, data: bytes) -> None:
        """Adds bytes; what is there already is skipped, bytes before the offset that are missing raise GapError.

        Raises ExhaustedError DISK_FULL, InvalidError BLOB_TOO_LONG.
        """
        ...

    async def commit(self) -> Blob:
        """Checks the whole and puts it in place, durably; raises InvalidError DIGEST_MISMATCH and forgets it."""
        ...


class BlobStore(Protocol):
    """Keeps content by sha256. What it answered is durable."""

    async def find_missing(self, digests: Iterable[str]) -> set[str]:
        """Returns those that are not stored."""
        ...

    async def locate(self, digest: str) -> Location:
        """Returns where a blob lies in a file of this machine, or raises NotFoundError BLOB_NOT_FOUND.

        The file may be a copy that the store made for this; it stays for as long as reading it takes.
        """
        ...

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Returns digest → length of those that are stored."""
        ...

    async def shared_root(self, nonce: str) -> Path:
        """Returns the store's folder to who knows what its file ``nonce`` holds, so sees the folder as well.

        Raises ConflictError STORE_UNPROVED, also where the store is no folder.
        """
        ...

    async def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes."""
        ...

    async def put_many(self, contents: Sequence[bytes], *, digests: Sequence[str] | None = None) -> list[Blob]:
        """Stores several at once, with one sync: all of them, or none.

        Given digests are compared first: InvalidError DIGEST_MISMATCH. Raises ExhaustedError DISK_FULL.
        """
        ...

    async def put_file(self, path: Path, *, move: bool = False) -> Blob:
        """Stores a file; moving needs no second copy where the store is on the same filesystem."""
        ...

    async def read(self, digest: str, *, offset: int = 0, limit: int = 0) -> bytes:
        """Returns bytes from an offset, at most limit (0 = to the end), or raises NotFoundError BLOB_NOT_FOUND."""
        ...

    def begin_write(self, digest: str, *, size_bytes: int, owner: str) -> AbstractAsyncContextManager[BlobWrite]:
        """Goes on with the owner's write of a blob, or begins it; one that is left uncommitted waits to go on.

        A second write of the same owner and digest takes over from the first, which then fails with
        ConflictError WRITE_SUPERSEDED.
        """
        ...

    async def written_bytes(self, digest: str, *, owner: str) -> int:
        """Returns how much of an owner's unfinished write is there; 0 when there is none."""
        ...

    def contents(self) -> AsyncIterator[Sequence[Blob]]:
        """Yields all that is stored, some at a time; what comes or goes meanwhile may be told or not."""
        ...

    async def delete(self, digests: Iterable[str]) -> None:
        """Removes blobs; those that are not there count as removed. For the collector, which alone knows when."""
        ...

    async def compact(self) -> None:
        """Gives back the room that removed blobs still take, where it does not come back at once."""
        ...

    async def prune_writes(self, *, before: datetime) -> int:
        """Removes unfinished writes that nobody went on with since a moment; returns how many."""
        ...


def check_digest(digest: str) -> str:
    """Returns the digest if it is one: 64 lower-case hex digits."""
    if _DIGEST.fullmatch(digest) is None:
        raise InvalidError("DIGEST_INVALID", "a digest is a sha256 in 64 lower-case hex digits", field="digest")
    return digest
