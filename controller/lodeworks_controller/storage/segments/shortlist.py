"""Shortlists: who pages through a filtered version waits for the filter once, not for each page."""

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from lodeworks_formats.manifest import VersionManifest, canonical_json, sha256_hex

from lodeworks_controller.service.segments import PageWish
from lodeworks_controller.storage.segments import jobs
from lodeworks_controller.storage.segments.job_types import Beside, ShortlistJob, Source
from lodeworks_controller.storage.segments.pool import Pool

_KEPT: Final = 32


class Shortlists:
    """Members that fulfil a condition, as files: the ones asked for last.

    Args:
        pool: Where filters run.
        folder: Where the files lie; what is in it does not outlive the program.
    """

    def __init__(self, pool: Pool, *, folder: Path) -> None:
        self._pool = pool
        self._folder = folder
        self._made: OrderedDict[str, asyncio.Task[str]] = OrderedDict()

    async def find(self, manifest: VersionManifest, wish: PageWish, source: Source, beside: Beside | None) -> str:
        """Returns the path of the shortlist; those who ask at once wait for the same filter."""
        key = _key(manifest, wish)
        made = self._made.get(key)
        if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
            made = self._made[key] = asyncio.create_task(self._make(key, wish, source, beside))
        self._made.move_to_end(key)
        await self._forget_oldest()
        return await asyncio.shield(made)

    async def _make(self, key: str, wish: PageWish, source: Source, beside: Beside | None) -> str:
        assert wish.condition is not None
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        path = str(self._folder / f"{key}.parquet")
        job = ShortlistJob(source, wish.condition, dict(wish.rids), path, beside)
        await self._pool.run(jobs.SHORTLIST, job)
        return path

    async def _forget_oldest(self) -> None:
        while len(self._made) > _KEPT:
            _, oldest = self._made.popitem(last=False)
            # Who reads it now has it open already, or asks again.
            if oldest.done() and not oldest.cancelled() and oldest.exception() is None:
                await asyncio.to_thread(Path(oldest.result()).unlink, missing_ok=True)


def _key(manifest: VersionManifest, wish: PageWish) -> str:
    said: list[Any] = [manifest.to_bytes().decode(), repr(wish.condition)]
    said.append(sorted((name, list(found)) for name, found in wish.rids.items()))
    if wish.beside is not None:
        said += [wish.beside.manifest.to_bytes().decode(), sorted(wish.beside.classes.items())]
    return sha256_hex(canonical_json(said))
