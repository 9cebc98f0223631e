"""Local copies of blobs that lie elsewhere, for those who need a file; bounded, the longest unused go first."""

import asyncio
import os
import shutil
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

_AT_LEAST: Final = 64  # who was just given a path shall find the file


class ObjectCache:
    """Files by digest.

    Args:
        folder: Where; emptied at each start.
        limit_bytes: What they may take together; the latest few stay in any case.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[None]] = {}

    def open(self) -> None:
        """Empties the folder. Blocks."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)

    async def find(self, digest: str) -> Path | None:
        """Returns the file of a blob that is here."""
        if digest not in self._sizes:
            return None
        self._sizes.move_to_end(digest)
        return self._folder / digest

    async def get(self, digest: str, *, size_bytes: int, fetch: Callable[[Path], Awaitable[None]]) -> Path:
        """Returns the file of a blob, which is fetched into a path once, also when several ask at a time."""
        if digest not in self._sizes:
            if digest not in self._fetching:
                self._fetching[digest] = asyncio.ensure_future(self._fetch(digest, size_bytes, fetch))
            await asyncio.shield(self._fetching[digest])
        self._sizes.move_to_end(digest)
        return self._folder / digest

    async def drop(self, digest: str) -> None:
        """Removes a blob that is here."""
        if self._sizes.pop(digest, None) is not None:
            await asyncio.to_thread((self._folder / digest).unlink, missing_ok=True)

    async def _fetch(self, digest: str, size_bytes: int, fetch: Callable[[Path], Awaitable[None]]) -> None:
        path = self._folder / digest
        part = path.with_suffix(".part")
        try:
            await fetch(part)
            await asyncio.to_thread(os.replace, part, path)
            self._sizes[digest] = size_bytes
        finally:
            part.unlink(missing_ok=True)
            del self._fetching[digest]
        while sum(self._sizes.values()) > self._limit_bytes and len(self._sizes) > _AT_LEAST:
            await self.drop(next(iter(self._sizes)))
