"""Making large packs of small and half-empty ones."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.storage.blobs.placement import Pack, Placed, PlacementStore

LEAST_BYTES: Final = 64 << 20
MOST_BYTES: Final = 256 << 20
_FEWEST: Final = 2


def object_key(digest: str) -> str:
    """Returns the name of the object of a large blob."""
    return f"sha256/{digest[:2]}/{digest}"


def pack_key(pack_id: str) -> str:
    """Returns the name of the object of a pack."""
    return f"packs/{pack_id}"


class Repacking:
    """Rewrites packs.

    Args:
        objects: An obstore store.
        index: Who keeps note of where blobs lie.
        folder: Where a new pack is put together.
        ids: Names of packs.
    """

    def __init__(self, objects: Any, index: PlacementStore, *, folder: Path, ids: Ids) -> None:
        self._objects = objects
        self._index = index
        self._folder = folder
        self._ids = ids
        self._alone = asyncio.Lock()

    def open(self) -> None:
        """Makes the folder, empty. Blocks."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)

    async def run(self) -> None:
        """Removes empty packs, and rewrites those that are small or more than half of which no longer counts."""
        async with self._alone:
            async with self._index.snapshot() as tx:
                packs = await tx.objects.packs()
            await self._remove([pack.id for pack in packs if not pack.live_bytes])
            worth = [pack for pack in packs if pack.live_bytes and _worth_rewriting(pack)]
            for group in grouped(worth):
                await self._rewrite(group)

    async def _rewrite(self, group: Sequence[Pack]) -> None:
        path = self._folder / self._ids()
        moves = list[tuple[Placed, Placed]]()
        new_id, start = self._ids(), 0
        try:
            with path.open("wb") as file:
                for pack in group:
                    async with self._index.snapshot() as tx:
                        placed = await tx.objects.in_pack(pack.id)
                    for one in placed:
                        data = await self._objects.get_range_async(
                            pack_key(pack.id), start=one.start_bytes, length=one.size_bytes
                        )
                        await asyncio.to_thread(file.write, bytes(data))
                        moves.append((one, Placed(one.digest, new_id, start, one.size_bytes)))
                        start += one.size_bytes
            await self._objects.put_async(pack_key(new_id), path)
        finally:
            path.unlink(missing_ok=True)
        old = [pack.id for pack in group]
        async with self._index.transaction() as tx:
            await tx.objects.move(moves, pack=Pack(new_id, start), emptied=old)
        await self._remove(old)

    async def _remove(self, packs: Sequence[str]) -> None:
        """Removes packs in which nothing counts any more, from the index first."""
        if not packs:
            return
        async with self._index.transaction() as tx:
            await tx.objects.forget(packs)
            kept = {pack.id for pack in await tx.objects.packs()}
        await asyncio.gather(*(self._objects.delete_async(pack_key(one)) for one in packs if one not in kept))


def grouped(packs: Sequence[Pack]) -> list[list[Pack]]:
    """Puts packs together so that each group makes one of at most MOST_BYTES; a lone sound pack is left alone."""
    groups: list[list[Pack]] = [[]]
    size_bytes = 0
    for pack in packs:
        if groups[-1] and size_bytes + pack.live_bytes > MOST_BYTES:
            groups.append([])
            size_bytes = 0
        groups[-1].append(pack)
        size_bytes += pack.live_bytes
    return [group for group in groups if len(group) >= _FEWEST or (group and _half_empty(group[0]))]


def _worth_rewriting(pack: Pack) -> bool:
    return pack.size_bytes < LEAST_BYTES or _half_empty(pack)


def _half_empty(pack: Pack) -> bool:
    return pack.live_bytes * 2 < pack.size_bytes
