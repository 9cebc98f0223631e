"""Collection of content that nothing uses: mark and sweep from the database, with leases and a grace.

What keeps a blob is a reference of a scope: of a project, a task, a device. References of uploads are leases: they end
unless something is made of the upload. References of tasks end a while after the task. A pass then

1. drops references that are over,
2. learns what the store holds (a crash may have left blobs that nobody recorded),
3. marks blobs to which no scope refers; their grace begins,
4. claims those whose grace is over in the database, removes them from the store, and forgets them.

Whoever stores or refers to a blob takes its mark first (see `sparing`); while it is claimed they wait. Since a mark
comes a whole grace before the claim, and the claim is committed before the first byte goes, nothing that is used, or
was just sent again, is taken: in whatever order the steps of several controllers meet.

A collector may be frozen for long after its claim, and find that another has taken the blobs over, removed them, and
that they were sent anew. So right before it removes some of them, it confirms its claim of these in the database, in
its role: who has lost the role or the claim removes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from lodeworks_controller.service.blob_store import Blob, BlobStore

if TYPE_CHECKING:
    from lodeworks_controller.service.store import Store

_log = logging.getLogger(__name__)

_BATCH: Final = 500
_REMOVED_AT_ONCE: Final = 100
_SLICES: Final = 256
_SHOWN: Final = 50
_ROUNDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Usage:
    """A number of blobs and their bytes together."""

    blobs: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CollectionTerms:
    """How long what is no longer used stays."""

    grace: timedelta = timedelta(hours=24)
    """From the moment when a pass first found that nothing refers to a blob."""
    task_kept: timedelta = timedelta(days=7)
    """What an ended task refers to: its own outputs, and inputs that no project keeps."""
    unfinished_kept: timedelta = timedelta(days=7)
    """An upload that broke off and was not taken up again."""
    sweep: timedelta = timedelta(seconds=60)
    """How long one claim holds; another collector takes over a claim that is older."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a pass removed, or would remove now: totals, and some of it, the largest first."""

    blobs: int
    size_bytes: int
    some: Sequence[Blob] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Blobs that one collector may remove; the moment until which they are claimed tells its claim from others'."""

    blobs: Sequence[Blob]
    until: datetime


class CollectionRows(Protocol):
    """The blobs as the collector sees them in one transaction."""

    async def expire(self, *, limit: int) -> int:
        """Drops references whose time is over; returns how many."""
        ...

    async def release_ended_tasks(self, *, before: datetime, limit: int) -> int:
        """Drops what tasks refer to that ended before a moment; returns how many tasks."""
        ...

    async def unknown(self, digests: Sequence[str]) -> set[str]:
        """Returns those that have no row yet."""
        ...

    async def learn(self, sizes: Mapping[str, int]) -> None:
        """Notes blobs that the store has; their grace has not begun."""
        ...

    async def unreferenced(self, *, first: str, last: str) -> Sequence[str]:
        """Returns unmarked blobs in a range of digests that no scope refers to."""
        ...

    async def mark(self, digests: Iterable[str]) -> None:
        """Marks those to which still no scope refers: their grace begins."""
        ...

    async def unmark(self) -> None:
        """Takes the mark from blobs that a scope refers to by now."""
        ...

    async def claim(self, *, marked_before: datetime, until: datetime, limit: int) -> Sequence[Blob]:
        """Takes blobs whose grace is over, and those that a dead collector had claimed, for removal until a moment."""
        ...

    async def confirm(self, digests: Sequence[str], *, claimed_until: datetime, until: datetime) -> Sequence[str]:
        """Renews a claim until a moment; returns those of its blobs that are still claimed by it."""
        ...

    async def swept(self, digests: Sequence[str], *, claimed_until: datetime) -> None:
        """Forgets blobs of a claim that the store no longer has: from now on they may be stored anew."""
        ...

    async def leaving(self, *, marked_before: datetime, limit: int) -> tuple[Sequence[Blob], int, int]:
        """Returns some of the blobs that a pass would remove now, the largest first; how many, and their bytes."""
        ...

    async def usage(self, project_ids: Sequence[str] | None) -> Mapping[str, Usage]:
        """Returns project id → what it refers to; content that two projects share counts in both."""
        ...

    async def stored(self) -> tuple[Usage, Usage]:
        """Returns all that is stored, and how much of it no scope refers to."""
        ...

    async def referenced(self, *, after: str, limit: int) -> Sequence[str]:
        """Returns digests that some scope refers to, in order, from behind the given one."""
        ...


class Collection:
    """Collects.

    Args:
        store: The database, as its role may write to it.
        blobs: The store of content itself, not what spares marks.
        terms: How long things stay.
        paused: Says whether content must not be touched now, as while a backup runs.
    """

    def __init__(
        self,
        store: "Store",
        blobs: BlobStore,
        *,
        terms: CollectionTerms | None = None,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._terms = terms or CollectionTerms()
        self._paused = paused
        self._alone = asyncio.Lock()

    async def run(self) -> Collected:
        """Makes one whole pass; returns what it removed."""
        async with self._alone:
            if self._paused():
                return Collected(0, 0)
            await self.release()
            await self.learn()
            await self.mark()
            collected = await self.sweep()
            await self._blobs.compact()
            return collected

    async def look(self) -> Collected:
        """Returns what a pass would remove now; changes nothing that keeps content."""
        async with self._alone:
            await self.learn()
            async with self._store.snapshot() as tx:
                before = tx.now() - self._terms.grace
                some, number, size_bytes = await tx.collection.leaving(marked_before=before, limit=_SHOWN)
        return Collected(number, size_bytes, some)

    async def release(self) -> None:
        """Drops references that are over, and uploads that nobody took up again."""
        for _ in range(_ROUNDS):
            async with self._store.transaction() as tx:
                ended = await tx.collection.release_ended_tasks(before=tx.now() - self._terms.task_kept, limit=_BATCH)
                dropped = await tx.collection.expire(limit=_BATCH)
                now = tx.now()
            if ended < _BATCH and dropped < _BATCH:
                break
        await self._blobs.prune_writes(before=now - self._terms.unfinished_kept)

    async def learn(self) -> None:
        """Notes what the store holds and the database does not know."""
        async for held in self._blobs.contents():
            async with self._store.snapshot() as tx:
                unknown = await tx.collection.unknown([blob.digest for blob in held])
            if unknown:
                async with self._store.transaction() as tx:
                    await tx.collection.learn({blob.digest: blob.size_bytes for blob in held if blob.digest in unknown})

    async def mark(self) -> None:
        """Marks what nothing refers to, a slice of the digests at a time, so that nobody waits for long."""
        async with self._store.transaction() as tx:
            await tx.collection.unmark()
        for number in range(_SLICES):
            last = f"{number + 1:02x}" if number + 1 < _SLICES else "g"
            async with self._store.snapshot() as tx:
                found = await tx.collection.unreferenced(first=f"{number:02x}", last=last)
            if found:
                async with self._store.transaction() as tx:
                    await tx.collection.mark(found)

    async def sweep(self) -> Collected:
        """Removes what was marked a grace ago and is still not used; returns what went."""
        number = size_bytes = 0
        while not self._paused():
            claim = await self.claim()
            if not claim.blobs:
                break
            removed = await self.remove(claim)
            number += removed.blobs
            size_bytes += removed.size_bytes
        if number:
            _log.info("collected %d blobs, %d bytes", number, size_bytes)
        return Collected(number, size_bytes)

    async def claim(self) -> Claim:
        """Claims some blobs for removal: from here on nobody can come to use them."""
        async with self._store.transaction() as tx:
            until = tx.now() + self._terms.sweep
            blobs = await tx.collection.claim(marked_before=tx.now() - self._terms.grace, until=until, limit=_BATCH)
            return Claim(blobs, until)

    async def remove(self, claim: Claim) -> Collected:
        """Removes claimed blobs from the store, then forgets them; returns what went.

        What another collector has taken over meanwhile is left to it. Raises RoleLostError once the role is another's.
        """
        sizes = {blob.digest: blob.size_bytes for blob in claim.blobs}
        gone = list[str]()
        for start in range(0, len(claim.blobs), _REMOVED_AT_ONCE):
            some = [blob.digest for blob in claim.blobs[start : start + _REMOVED_AT_ONCE]]
            async with self._store.transaction() as tx:
                until = tx.now() + self._terms.sweep
                mine = await tx.collection.confirm(some, claimed_until=claim.until, until=until)
            await self._blobs.delete(mine)
            async with self._store.transaction() as tx:
                await tx.collection.swept(mine, claimed_until=until)
            gone += mine
        return Collected(len(gone), sum(sizes[digest] for digest in gone))
