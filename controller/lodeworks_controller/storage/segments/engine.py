"""The storage of segments: finds files by digest, runs jobs in the pool, stores what they write."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from lodeworks_formats.manifest import SegmentRef, VersionManifest

from lodeworks_controller.domain.expression import Condition
from lodeworks_controller.domain.manifest import ASSETS, Derived
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.service.content import BlobStore
from lodeworks_controller.service.segments import Arrived, EachDigests, Inspection, Page, Rids, Stored
from lodeworks_controller.storage.segments import jobs
from lodeworks_controller.storage.segments.job_types import (
    ArriveJob,
    DigestsJob,
    ExcludeJob,
    FilterJob,
    InspectJob,
    Limits,
    Located,
    MergeJob,
    Outcome,
    PageJob,
    PartsJob,
    PositivesJob,
    PredictJob,
    SelectJob,
    Source,
    ViewJob,
    Written,
)
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_controller.storage.segments.shortlist import Shortlists

_TOGETHER_BYTES: Final = 8 * 1024 * 1024
_DIGEST_BYTES: Final = 32
_DIGESTS_AT_ONCE: Final = 10_000
_MEMORY_BYTES: Final = 400 * 1024 * 1024


class SegmentEngine:
    """Segments in a blob store.

    Args:
        blobs: Where segments are kept.
        pool: Where jobs run.
        scratch: Folder for files in the making, on the blob store's filesystem so that they can be moved.
        memory_bytes: What DuckDB may hold in one job before it spills.
        threads: Of one job.
    """

    def __init__(
        self, blobs: BlobStore, pool: Pool, *, scratch: Path, memory_bytes: int = _MEMORY_BYTES, threads: int = 2
    ) -> None:
        self._blobs = blobs
        self._pool = pool
        self._scratch = scratch
        self._memory_bytes = memory_bytes
        self._threads = threads
        self._shortlists = Shortlists(pool, folder=scratch / "shortlists")

    def open(self) -> None:
        """Makes the scratch folder and removes what a crash left in it. Blocks; called once at start."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True, mode=0o700)

    async def filter(self, source: VersionManifest, condition: Condition, *, rids: Rids) -> Derived:
        """Keeps the pictures that fulfil the condition."""
        async with self._folder() as folder:
            found = await self._located(source, folder)
            job = FilterJob(found, condition, dict(rids), str(folder), self._limits(folder))
            return await self._derived(await self._pool.run(jobs.FILTER, job))

    async def merge(self, host: VersionManifest, guest: VersionManifest, *, conflict: Conflict) -> Derived:
        """Unites two versions; raises ConflictError MERGE_CONFLICT when nobody may win."""
        async with self._folder() as folder:
            sides = await self._located(host, folder), await self._located(guest, folder)
            job = MergeJob(*sides, conflict, str(folder), self._limits(folder))
            return await self._derived(await self._pool.run(jobs.MERGE, job))

    async def exclude(self, host: VersionManifest, others: Sequence[VersionManifest]) -> Derived:
        """Keeps the pictures that the others do not have."""
        async with self._folder() as folder:
            without = tuple([await self._located(other, folder) for other in others])
            job = ExcludeJob(await self._located(host, folder), without, str(folder), self._limits(folder))
            return await self._derived(await self._pool.run(jobs.EXCLUDE, job))

    async def draw(self, source: VersionManifest, *, sizes: Sequence[int], seed: int) -> tuple[Derived, ...]:
        """Draws disjoint parts by chance."""
        async with self._folder() as folder:
            found = await self._located(source, folder)
            job = PartsJob(found, tuple(sizes), seed, str(folder), self._limits(folder))
            return tuple([await self._derived(part) for part in await self._pool.run(jobs.DRAW, job)])

    async def select(self, source: VersionManifest, digests: Sequence[str]) -> Derived:
        """Keeps the pictures with these digests."""
        async with self._folder() as folder:
            wanted = tuple(map(bytes.fromhex, digests))
            job = SelectJob(await self._located(source, folder), wanted, str(folder), self._limits(folder))
            return await self._derived(await self._pool.run(jobs.SELECT, job))

    async def positives(self, source: VersionManifest, groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Returns for each group of raw classes on how many pictures one of them is."""
        async with self._folder() as folder:
            job = PositivesJob(await self._located(source, folder), tuple(map(tuple, groups)))
            return await self._pool.run(jobs.POSITIVES, job)

    async def page(
        self,
        source: VersionManifest,
        *,
        classes: Mapping[int, str],
        after_aid: int,
        limit: int,
        condition: Condition | None = None,
        rids: Rids | None = None,
        predictions: VersionManifest | None = None,
    ) -> Page:
        """Returns pictures behind an aid with their boxes."""
        async with self._folder() as folder:
            found = await self._located(source, folder)
            shortlist = None
            if condition is not None:
                shortlist = await self._shortlists.find(source, condition, rids or {}, found)
            job = PageJob(
                source=found,
                classes=dict(classes),
                after_aid=after_aid,
                limit=limit,
                shortlist=shortlist,
                predictions=None if predictions is None else await self._located(predictions, folder),
            )
            return await self._pool.run(jobs.PAGE, job)

    async def view(
        self,
        source: VersionManifest,
        *,
        classes: Mapping[int, str],
        class_names: Sequence[str],
        class_map_revision: int,
        predictions: VersionManifest | None = None,
    ) -> Stored:
        """Writes a view."""
        async with self._folder() as folder:
            path = folder / "view.parquet"
            job = ViewJob(
                source=await self._located(source, folder),
                classes=dict(classes),
                class_names=tuple(class_names),
                class_map_revision=class_map_revision,
                path=str(path),
                limits=self._limits(folder),
                predictions=None if predictions is None else await self._located(predictions, folder),
            )
            pictures = await self._pool.run(jobs.VIEW, job)
            blob = await self._blobs.put_file(path, move=True)
            return Stored(blob.digest, blob.size_bytes, pictures)

    async def digests(self, source: VersionManifest, *, each: EachDigests) -> None:
        """Hands over the digests of all pictures, and of their upright copies."""
        async with self._folder() as folder:
            path = folder / "digests"
            job = DigestsJob(await self._located(source, folder), str(path), self._limits(folder))
            await self._pool.run(jobs.DIGESTS, job)
            await _hand_over(path, each)

    async def inspect(self, exchange: str, *, assets: Sequence[SegmentRef], each: EachDigests) -> Inspection:
        """Checks an exchange form and hands over its digests; raises BadOutputError with the row."""
        async with self._folder() as folder:
            files = [await self._path(ref.digest, folder) for ref in assets]
            path = folder / "digests"
            file = await self._path(exchange, folder)
            job = InspectJob(file, tuple(files), str(path), self._limits(folder))
            found = await self._pool.run(jobs.INSPECT, job)
            await _hand_over(path, each)
            return found

    async def arrive(
        self,
        exchange: str,
        *,
        assets: Sequence[SegmentRef],
        rids: Mapping[str, int],
        first_aid: int,
        first_rec: int,
        source: str,
        import_id: str,
    ) -> Arrived:
        """Turns a checked exchange form into segments."""
        async with self._folder() as folder:
            job = ArriveJob(
                exchange=await self._path(exchange, folder),
                assets=tuple([Located(ref, await self._path(ref.digest, folder)) for ref in assets]),
                rids=dict(rids),
                first_aid=first_aid,
                first_rec=first_rec,
                source=source,
                import_id=import_id,
                folder=str(folder),
                limits=self._limits(folder),
            )
            arrival = await self._pool.run(jobs.ARRIVE, job)
            predictions = None if arrival.predictions is None else await self._derived(arrival.predictions)
            fresh = tuple(part.ref for part in arrival.version.written if part.ref.kind == ASSETS)
            return Arrived(await self._derived(arrival.version), predictions, fresh)

    async def arrive_predictions(
        self, exchange: str, *, version: VersionManifest, rids: Mapping[str, int], first_rec: int
    ) -> Derived:
        """Turns predictions on the pictures of a version into records."""
        async with self._folder() as folder:
            job = PredictJob(
                exchange=await self._path(exchange, folder),
                version=await self._located(version, folder),
                rids=dict(rids),
                first_rec=first_rec,
                folder=str(folder),
                limits=self._limits(folder),
            )
            return await self._derived(await self._pool.run(jobs.ARRIVE_PREDICTIONS, job))

    def _limits(self, folder: Path) -> Limits:
        return Limits(str(folder), self._memory_bytes, self._threads)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self._scratch))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _located(self, manifest: VersionManifest, folder: Path) -> Source:
        return Source(tuple([Located(ref, await self._path(ref.digest, folder)) for ref in manifest.segments]))

    async def _path(self, digest: str, folder: Path) -> str:
        """Returns a file with the blob's bytes and nothing else: the store's own, or a copy out of a pack."""
        location = await self._blobs.locate(digest)
        if location.offset == 0 and location.path.stat().st_size == location.size_bytes:
            return str(location.path)
        copy = folder / f"{digest}.parquet"
        if not copy.exists():
            copy.write_bytes(await self._blobs.read(digest))
        return str(copy)

    async def _derived(self, outcome: Outcome) -> Derived:
        await self._store(outcome.written)
        return Derived((*(part.ref for part in outcome.written), *outcome.shared), outcome.statistics)

    async def _store(self, written: Sequence[Written]) -> None:
        """Stores what a job wrote: small segments together, with one sync, large ones by moving their files."""
        small = [part for part in written if part.ref.size_bytes <= _TOGETHER_BYTES]
        contents = [await asyncio.to_thread(Path(part.path).read_bytes) for part in small]
        if contents:
            await self._blobs.put_many(contents, digests=[part.ref.digest for part in small])
        for part in written:
            if part.ref.size_bytes > _TOGETHER_BYTES:
                await self._blobs.put_file(Path(part.path), move=True)


async def _hand_over(path: Path, each: EachDigests) -> None:
    with path.open("rb") as stream:
        while data := stream.read(_DIGEST_BYTES * _DIGESTS_AT_ONCE):
            await each([data[at : at + _DIGEST_BYTES].hex() for at in range(0, len(data), _DIGEST_BYTES)])
