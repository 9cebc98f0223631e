"""Content that runs read, kept by digest and bounded: what one run fetched the next one finds."""

import asyncio
import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lodeworks_worker.control_plane import BlobTransfer, Scope
from lodeworks_worker.errors import BlobError
from lodeworks_worker.putting_down import in_thread


class Cache:
    """Blobs of at most `limit_bytes` together. Pinned ones stay; of the others the longest unused go first.

    Files are read-only and never changed: whoever gives one to a program that may write gives a copy.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._sizes: dict[str, int] = {}
        self._pins: dict[str, frozenset[str]] = {}
        self._fetching: dict[str, asyncio.Future[None]] = {}

    async def open(self) -> None:
        """Finds what is there, the longest unused first; what broke off is kept to go on from."""
        self._sizes = dict(await in_thread(_scan, self._folder))

    @property
    def size_bytes(self) -> int:
        """The size of all that is there."""
        return sum(self._sizes.values())

    def path(self, digest: str) -> Path:
        """Returns where a blob lies that was ensured and is pinned."""
        return self._folder / digest[:2] / digest

    def release(self, owner: str) -> None:
        """Unpins what was ensured for an owner."""
        self._pins.pop(owner, None)

    async def ensure(self, wanted: Mapping[str, int], *, owner: str, scope: Scope, transfer: BlobTransfer) -> None:
        """Fetches what is missing of `wanted` (digest → size, 0 = unknown) and pins all of it for an owner."""
        self._pins[owner] = self._pins.get(owner, frozenset()) | frozenset(wanted)
        while True:
            others = [future for digest, future in self._fetching.items() if digest in wanted]
            if not others:
                break
            await asyncio.wait(others)
        missing = {digest: size for digest, size in wanted.items() if digest not in self._sizes}
        for digest in wanted:
            if digest not in missing:
                self._sizes[digest] = self._sizes.pop(digest)  # to the end: the latest used
        if missing:
            await self._fetch(missing, scope=scope, transfer=transfer)
        await self._evict()

    async def _fetch(self, missing: Mapping[str, int], *, scope: Scope, transfer: BlobTransfer) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fetching.update(dict.fromkeys(missing, done))
        arriving = self._folder / "arriving"
        try:
            arriving.mkdir(parents=True, exist_ok=True)
            await transfer.fetch(scope, missing, folder=arriving)
            arrived = await in_thread(self._publish, arriving, list(missing))
            self._sizes.update(arrived)
        finally:
            for digest in missing:
                self._fetching.pop(digest, None)
            done.set_result(None)

    async def make_room(self) -> None:
        """Removes all that no run has pinned, and what broke off: the disk is full."""
        pinned = frozenset[str]().union(*self._pins.values())
        gone = [digest for digest in self._sizes if digest not in pinned]
        for digest in gone:
            del self._sizes[digest]
        arriving = self._folder / "arriving"
        left = [path for path in arriving.glob("*") if path.name.partition(".")[0] not in self._fetching]
        await in_thread(_unlink_all, [*map(self.path, gone), *left])

    def _publish(self, arriving: Path, digests: Iterable[str]) -> dict[str, int]:
        arrived = {}
        for digest in digests:
            source, target = arriving / digest, self.path(digest)
            if not source.exists():
                raise BlobError(f"blob {digest} did not arrive")
            target.parent.mkdir(parents=True, exist_ok=True)
            source.chmod(0o444)
            source.replace(target)
            arrived[digest] = target.stat().st_size
        return arrived

    async def _evict(self) -> None:
        pinned = frozenset[str]().union(*self._pins.values())
        excess = self.size_bytes - self._limit_bytes
        gone = []
        for digest, size in list(self._sizes.items()):
            if excess <= 0:
                break
            if digest not in pinned:
                del self._sizes[digest]
                gone.append(self.path(digest))
                excess -= size
        if gone:
            await in_thread(_unlink_all, gone)


def _scan(folder: Path) -> list[tuple[str, int]]:
    found = []
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        told = path.stat()
        found.append((told.st_atime, path.name, told.st_size))
    return [(name, size) for _, name, size in sorted(found)]


def _unlink_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - thousands at once
