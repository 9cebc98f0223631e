"""The storage of segments: finds files by digest, runs jobs in the pool, stores what they write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lodeworks_formats.manifest import SegmentRef, VersionManifest

from lodeworks_controller.domain.expression import Condition
from lodeworks_controller.domain.manifest import ASSETS, Derived
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.service.segments import (
    Arrived,
    Dealing,
    EachDigests,
    Inspection,
    Page,
    PageWish,
    PredictionsBeside,
    Rids,
    Stored,
)
from lodeworks_controller.storage.segments import jobs
from lodeworks_controller.storage.segments.job_types import (
    ArriveJob,
    DealJob,
    DigestsJob,
    ExcludeJob,
    FilterJob,
    InspectJob,
    Located,
    MergeJob,
    PageJob,
    PartsJob,
    PositivesJob,
    PredictJob,
    SelectJob,
    ViewJob,
)
from lodeworks_controller.storage.segments.shortlist import Shortlists
from lodeworks_controller.storage.segments.workshop import Workshop

_DIGEST_BYTES: Final = 32
_DIGESTS_AT_ONCE: Final = 10_000


class SegmentEngine:
    """Segments in a blob store; `shop` is where its jobs find their files."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._shortlists = Shortlists(shop.pool, folder=shop.scratch / "shortlists")

    async def filter(
        self, source: VersionManifest, condition: Condition, *, rids: Rids, beside: PredictionsBeside | None = None
    ) -> Derived:
        """Keeps the pictures that fulfil the condition."""
        async with self._shop.folder() as folder:
            found = await self._shop.located(source, folder)
            asked = await self._shop.beside(beside, folder)
            job = FilterJob(found, condition, dict(rids), str(folder), self._shop.limits(folder), asked)
            return await self._shop.derived(await self._shop.run(jobs.FILTER, job))

    async def merge(self, host: VersionManifest, guest: VersionManifest, *, conflict: Conflict) -> Derived:
        """Unites two versions; raises ConflictError MERGE_CONFLICT when nobody may win."""
        async with self._shop.folder() as folder:
            sides = await self._shop.located(host, folder), await self._shop.located(guest, folder)
            job = MergeJob(*sides, conflict, str(folder), self._shop.limits(folder))
            return await self._shop.derived(await self._shop.run(jobs.MERGE, job))

    async def exclude(self, host: VersionManifest, others: Sequence[VersionManifest]) -> Derived:
        """Keeps the pictures that the others do not have."""
        async with self._shop.folder() as folder:
            without = tuple([await self._shop.located(other, folder) for other in others])
            job = ExcludeJob(await self._shop.located(host, folder), without, str(folder), self._shop.limits(folder))
            return await self._shop.derived(await self._shop.run(jobs.EXCLUDE, job))

    async def draw(
        self, source: VersionManifest, *, sizes: Sequence[int], seed: int, how: Dealing | None = None
    ) -> tuple[Derived, ...]:
        """Draws disjoint parts by chance, or deals them out; raises ConflictError SIGNALS_MISSING."""
        async with self._shop.folder() as folder:
            found = await self._shop.located(source, folder)
            if how is None:
                job = PartsJob(found, tuple(sizes), seed, str(folder), self._shop.limits(folder))
                parts = await self._shop.run(jobs.DRAW, job)
            else:
                signals = await self._shop.each_located(how.signals, folder)
                dealt = DealJob(found, tuple(sizes), seed, str(folder), how.classes, how.distance, signals)
                parts = await self._shop.run(jobs.DEAL, dealt)
            return await self._shop.derived_together(parts)

    async def select(self, source: VersionManifest, digests: Sequence[str]) -> Derived:
        """Keeps the pictures with these digests."""
        async with self._shop.folder() as folder:
            wanted = tuple(map(bytes.fromhex, digests))
            job = SelectJob(await self._shop.located(source, folder), wanted, str(folder), self._shop.limits(folder))
            return await self._shop.derived(await self._shop.run(jobs.SELECT, job))

    async def positives(self, source: VersionManifest, groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Returns for each group of raw classes on how many pictures one of them is."""
        async with self._shop.folder() as folder:
            job = PositivesJob(await self._shop.located(source, folder), tuple(map(tuple, groups)))
            return await self._shop.run(jobs.POSITIVES, job)

    async def page(self, source: VersionManifest, wish: PageWish, *, classes: Mapping[int, str]) -> Page:
        """Returns pictures behind an aid with their boxes."""
        async with self._shop.folder() as folder:
            found = await self._shop.located(source, folder)
            shortlist = None
            if wish.condition is not None:
                asked = await self._shop.beside(wish.beside, folder)
                shortlist = await self._shortlists.find(source, wish, found, asked)
            job = PageJob(
                source=found,
                classes=dict(classes),
                after_aid=wish.after_aid,
                limit=wish.limit,
                shortlist=shortlist,
                predictions=None if wish.predictions is None else await self._shop.located(wish.predictions, folder),
                compared=wish.compared,
                thumbnails=await self._shop.each_located(wish.thumbnails, folder),
            )
            return await self._shop.run(jobs.PAGE, job)

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
        async with self._shop.folder() as folder:
            path = folder / "view.parquet"
            job = ViewJob(
                source=await self._shop.located(source, folder),
                classes=dict(classes),
                class_names=tuple(class_names),
                class_map_revision=class_map_revision,
                path=str(path),
                limits=self._shop.limits(folder),
                predictions=None if predictions is None else await self._shop.located(predictions, folder),
            )
            pictures = await self._shop.run(jobs.VIEW, job)
            blob = await self._shop.blobs.put_file(path, move=True)
            return Stored(blob.digest, blob.size_bytes, pictures)

    async def digests(self, source: VersionManifest, *, each: EachDigests) -> None:
        """Hands over the digests of all pictures, and of their upright copies."""
        async with self._shop.folder() as folder:
            path = folder / "digests"
            job = DigestsJob(await self._shop.located(source, folder), str(path), self._shop.limits(folder))
            await self._shop.run(jobs.DIGESTS, job)
            await hand_over(path, each)

    async def inspect(self, exchange: str, *, assets: Sequence[SegmentRef], each: EachDigests) -> Inspection:
        """Checks an exchange form and hands over its digests; raises BadOutputError with the row."""
        async with self._shop.folder() as folder:
            files = [await self._shop.path(ref.digest, folder) for ref in assets]
            path = folder / "digests"
            file = await self._shop.path(exchange, folder)
            job = InspectJob(file, tuple(files), str(path), self._shop.limits(folder))
            found = await self._shop.run(jobs.INSPECT, job)
            await hand_over(path, each)
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
        async with self._shop.folder() as folder:
            job = ArriveJob(
                exchange=await self._shop.path(exchange, folder),
                assets=tuple([Located(ref, await self._shop.path(ref.digest, folder)) for ref in assets]),
                rids=dict(rids),
                first_aid=first_aid,
                first_rec=first_rec,
                source=source,
                import_id=import_id,
                folder=str(folder),
                limits=self._shop.limits(folder),
            )
            arrival = await self._shop.run(jobs.ARRIVE, job)
            predictions = None if arrival.predictions is None else await self._shop.derived(arrival.predictions)
            fresh = tuple(part.ref for part in arrival.version.written if part.ref.kind == ASSETS)
            return Arrived(await self._shop.derived(arrival.version), predictions, fresh)

    async def arrive_predictions(
        self, exchange: str, *, version: VersionManifest, rids: Mapping[str, int], first_rec: int
    ) -> Derived:
        """Turns predictions on the pictures of a version into records."""
        async with self._shop.folder() as folder:
            job = PredictJob(
                exchange=await self._shop.path(exchange, folder),
                version=await self._shop.located(version, folder),
                rids=dict(rids),
                first_rec=first_rec,
                folder=str(folder),
                limits=self._shop.limits(folder),
            )
            return await self._shop.derived(await self._shop.run(jobs.ARRIVE_PREDICTIONS, job))


async def hand_over(path: Path, each: EachDigests) -> None:
    """Reads digests from a file, 32 bytes each, and hands them over in batches."""
    with path.open("rb") as stream:
        while data := stream.read(_DIGEST_BYTES * _DIGESTS_AT_ONCE):
            await each([data[at : at + _DIGEST_BYTES].hex() for at in range(0, len(data), _DIGEST_BYTES)])
