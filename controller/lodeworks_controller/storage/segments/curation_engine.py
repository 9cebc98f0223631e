"""The storage's side of keeping datasets in order: runs the jobs, stores what they write."""

from collections.abc import Sequence

from lodeworks_formats.manifest import SegmentRef, VersionManifest

from lodeworks_controller.domain.curation import Difference, Leaks
from lodeworks_controller.domain.manifest import THUMBNAILS, Derived
from lodeworks_controller.service.curation import TagWork, Thinner
from lodeworks_controller.service.segments import EachDigests, Stored
from lodeworks_controller.storage.segments import curation_jobs as jobs
from lodeworks_controller.storage.segments.curation_jobs import (
    DedupJob,
    DiffJob,
    LeaksJob,
    MeasuredJob,
    OrphansJob,
    ShrunkJob,
    SignalsJob,
    TagJob,
    ThumbnailsJob,
    UnmeasuredJob,
)
from lodeworks_controller.storage.segments.engine import hand_over
from lodeworks_controller.storage.segments.workshop import Workshop


class CurationEngine:
    """Runs the jobs in a workshop."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    async def tag(self, source: VersionManifest, work: TagWork) -> Derived:
        """Changes tags of pictures or boxes."""
        async with self._shop.folder() as folder:
            job = TagJob(
                source=await self._shop.located(source, folder),
                condition=work.condition,
                rids=dict(work.rids),
                add=work.change.add,
                remove=work.change.remove,
                box_rids=work.box_rids,
                first_rec=work.first_rec,
                folder=str(folder),
                beside=await self._shop.beside(work.beside, folder),
            )
            return await self._shop.derived(await self._shop.run(jobs.TAG, job))

    async def dedup(self, source: VersionManifest, *, signals: Sequence[SegmentRef], distance: int) -> Thinner:
        """Keeps one of each group of pictures that look alike; raises ConflictError SIGNALS_MISSING."""
        async with self._shop.folder() as folder:
            measured = await self._shop.each_located(signals, folder)
            job = DedupJob(await self._shop.located(source, folder), measured, distance, str(folder))
            found = await self._shop.run(jobs.DEDUP, job)
            return Thinner(await self._shop.derived(found.outcome), found.removed)

    async def diff(self, before: VersionManifest, after: VersionManifest, *, limit: int) -> Difference:
        """Compares the members of two versions."""
        async with self._shop.folder() as folder:
            sides = await self._shop.located(before, folder), await self._shop.located(after, folder)
            return await self._shop.run(jobs.DIFF, DiffJob(*sides, limit))

    async def leaks(
        self, parts: Sequence[VersionManifest], *, signals: Sequence[SegmentRef], distance: int | None, limit: int
    ) -> Leaks:
        """Finds what versions share; raises ConflictError SIGNALS_MISSING where likeness is asked for."""
        async with self._shop.folder() as folder:
            located = tuple([await self._shop.located(part, folder) for part in parts])
            job = LeaksJob(located, await self._shop.each_located(signals, folder), distance, limit)
            return await self._shop.run(jobs.LEAKS, job)

    async def unmeasured(self, sources: Sequence[VersionManifest], *, signals: Sequence[SegmentRef]) -> Derived | None:
        """Returns the members whose pictures have no signals, as a version that nobody sees; None when all have."""
        async with self._shop.folder() as folder:
            located = tuple([await self._shop.located(source, folder) for source in sources])
            job = UnmeasuredJob(located, await self._shop.each_located(signals, folder), str(folder))
            found = await self._shop.run(jobs.UNMEASURED, job)
            return None if found is None else await self._shop.derived(found)

    async def take_measured(self, measured: str, *, sources: Sequence[VersionManifest]) -> SegmentRef:
        """Turns what a worker measured into a segment; raises BadOutputError."""
        async with self._shop.folder() as folder:
            file = await self._shop.path(measured, folder)
            located = tuple([await self._shop.located(source, folder) for source in sources])
            job = MeasuredJob(file, located, str(folder))
            written = await self._shop.run(jobs.MEASURED, job)
            await self._shop.store([written])
            return written.ref

    async def unshrunk(self, sources: Sequence[VersionManifest], *, thumbnails: Sequence[SegmentRef]) -> Derived | None:
        """Returns the members whose pictures have no thumbnail, as a version that nobody sees; None when all have."""
        async with self._shop.folder() as folder:
            located = tuple([await self._shop.located(source, folder) for source in sources])
            known = await self._shop.each_located(thumbnails, folder)
            found = await self._shop.run(jobs.UNMEASURED, UnmeasuredJob(located, known, str(folder), THUMBNAILS))
            return None if found is None else await self._shop.derived(found)

    async def take_shrunk(self, shrunk: str, *, sources: Sequence[VersionManifest], each: EachDigests) -> SegmentRef:
        """Turns thumbnails that a worker made into a segment, and hands over their digests; raises BadOutputError."""
        async with self._shop.folder() as folder:
            file, digests = await self._shop.path(shrunk, folder), folder / "digests"
            located = tuple([await self._shop.located(source, folder) for source in sources])
            written = await self._shop.run(jobs.SHRUNK, ShrunkJob(file, located, str(folder), str(digests)))
            await hand_over(digests, each)
            await self._shop.store([written])
            return written.ref

    async def thumbnails_of(
        self, sources: Sequence[VersionManifest], *, thumbnails: Sequence[SegmentRef], each: EachDigests
    ) -> None:
        """Hands over the digests of the thumbnails that pictures of versions have."""
        async with self._shop.folder() as folder:
            located = tuple([await self._shop.located(source, folder) for source in sources])
            path = folder / "digests"
            job = ThumbnailsJob(located, await self._shop.each_located(thumbnails, folder), str(path))
            await self._shop.run(jobs.THUMBNAILS_OF, job)
            await hand_over(path, each)

    async def signals_of(self, source: VersionManifest, *, signals: Sequence[SegmentRef]) -> Stored:
        """Writes the signals of a version's pictures by digest."""
        async with self._shop.folder() as folder:
            path = folder / "signals.parquet"
            job = SignalsJob(
                await self._shop.located(source, folder), await self._shop.each_located(signals, folder), str(path)
            )
            pictures = await self._shop.run(jobs.SIGNALS_OF, job)
            blob = await self._shop.blobs.put_file(path, move=True)
            return Stored(blob.digest, blob.size_bytes, pictures)

    async def orphans(
        self,
        dead: Sequence[VersionManifest],
        living: Sequence[VersionManifest],
        *,
        thumbnails: Sequence[SegmentRef],
        each: EachDigests,
    ) -> None:
        """Hands over the digests of pictures of the dead that none of the living has, and of their thumbnails."""
        async with self._shop.folder() as folder:
            path = folder / "digests"
            job = OrphansJob(
                tuple([await self._shop.located(one, folder) for one in dead]),
                tuple([await self._shop.located(one, folder) for one in living]),
                str(path),
                self._shop.limits(folder),
                await self._shop.each_located(thumbnails, folder),
            )
            await self._shop.run(jobs.ORPHANS, job)
            await hand_over(path, each)
