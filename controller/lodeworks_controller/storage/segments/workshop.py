"""Where jobs on segments find their files and leave what they write: one folder per job, blobs on either side."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from lodeworks_formats.manifest import SegmentRef, VersionManifest

from lodeworks_controller.domain.manifest import Derived
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.segments import PredictionsBeside
from lodeworks_controller.storage.segments.job_types import Beside, Limits, Located, Outcome, Source, Written
from lodeworks_controller.storage.segments.pool import Pool, Work

Job = TypeVar("Job")
Answer = TypeVar("Answer")

_TOGETHER_BYTES: Final = 8 * 1024 * 1024
_BATCH_BYTES: Final = 32 * 1024 * 1024
_MEMORY_BYTES: Final = 400 * 1024 * 1024


class Workshop:
    """Jobs on the segments of a blob store.

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
        self.blobs = blobs
        self.pool = pool
        self.scratch = scratch
        self._memory_bytes = memory_bytes
        self._threads = threads

    def open(self) -> None:
        """Makes the scratch folder and removes what a crash left in it. Blocks; called once at start."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True, mode=0o700)

    async def run(self, work: Work[Job, Answer], job: Job) -> Answer:
        """Runs a job in the pool."""
        return await self.pool.run(work, job)

    def limits(self, folder: Path) -> Limits:
        """Returns what a job in a folder may use."""
        return Limits(str(folder), self._memory_bytes, self._threads)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Makes a folder for one job, and removes it afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self.scratch))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def located(self, manifest: VersionManifest, folder: Path) -> Source:
        """Returns the segments of a manifest as files."""
        return Source(tuple([Located(ref, await self.path(ref.digest, folder)) for ref in manifest.segments]))

    async def each_located(self, refs: Iterable[SegmentRef], folder: Path) -> tuple[Located, ...]:
        """Returns segments as files."""
        return tuple([Located(ref, await self.path(ref.digest, folder)) for ref in refs])

    async def beside(self, asked: PredictionsBeside | None, folder: Path) -> Beside | None:
        """Returns the files of a prediction set that a condition asks about."""
        return None if asked is None else Beside(await self.located(asked.manifest, folder), dict(asked.classes))

    async def path(self, digest: str, folder: Path) -> str:
        """Returns a file with the blob's bytes and nothing else: the store's own, or a copy out of a pack."""
        location = await self.blobs.locate(digest)
        if location.offset == 0 and location.path.stat().st_size == location.size_bytes:
            return str(location.path)
        copy = folder / f"{digest}.parquet"
        if not copy.exists():
            copy.write_bytes(await self.blobs.read(digest))
        return str(copy)

    async def derived(self, outcome: Outcome) -> Derived:
        """Stores what a job wrote and returns what the new version consists of."""
        return (await self.derived_together([outcome]))[0]

    async def derived_together(self, outcomes: Sequence[Outcome]) -> tuple[Derived, ...]:
        """Stores what a job wrote for several new versions and returns what each consists of."""
        await self.store([part for outcome in outcomes for part in outcome.written])
        return tuple(
            Derived((*(part.ref for part in outcome.written), *outcome.shared), outcome.statistics)
            for outcome in outcomes
        )

    async def store(self, written: Sequence[Written]) -> None:
        """Stores what a job wrote: small segments together, with one sync, large ones by moving their files."""
        for small in _batches([part for part in written if part.ref.size_bytes <= _TOGETHER_BYTES]):
            contents = await asyncio.to_thread(lambda: [Path(part.path).read_bytes() for part in small])  # noqa: B023
            await self.blobs.put_many(contents, digests=[part.ref.digest for part in small])
        for part in written:
            if part.ref.size_bytes > _TOGETHER_BYTES:
                await self.blobs.put_file(Path(part.path), move=True)


def _batches(written: Sequence[Written]) -> Iterator[list[Written]]:
    """Groups small segments so that not too much is in memory at once."""
    batch, size_bytes = list[Written](), 0
    for part in written:
        if batch and size_bytes + part.ref.size_bytes > _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
        batch.append(part)
        size_bytes += part.ref.size_bytes
    if batch:
        yield batch
