"""The datasets of a controller with what keeps them in order; a worker's measuring is played."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from dataset_world import DatasetWorld
from lodeworks_controller.domain.curation import SIGNALS_VERSION
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.curation import CurationService
from lodeworks_controller.service.dataset_measuring import DatasetMeasuring
from lodeworks_controller.service.dataset_release import DatasetRelease
from lodeworks_controller.service.dataset_sharing import DatasetSharing
from lodeworks_controller.service.kinds.thumbnails import ThumbnailsKind
from lodeworks_controller.service.thumbnail import ThumbnailService
from lodeworks_controller.service.version_making import VersionMaking
from lodeworks_controller.storage.segments.curation_engine import CurationEngine
from lodeworks_controller.storage.segments.workshop import Workshop
from lodeworks_formats.segments import MEASURED_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class CurationWorld(DatasetWorld):
    """A controller's datasets, its curation, and one administrator."""

    async def open(self) -> CurationWorld:
        """Opens what datasets need, then wires curation beside."""
        await super().open()
        shop = Workshop(self.blobs, self.pool, scratch=self.root / "curation")
        shop.open()
        self.curated = CurationEngine(shop)
        making = VersionMaking(self.store, self.blobs, ids=self.ids)
        self.curation = CurationService(self.store, self.blobs, self.curated, making=making)
        self.sharing = DatasetSharing(self.store)
        self.release = DatasetRelease(self.store, self.blobs, self.curated, grace=timedelta(hours=1))
        self.thumbnails = ThumbnailService(
            self.store, self.blobs, self.task_service, segments=self.segments, curated=self.curated
        )
        self.kinds.add(ThumbnailsKind(self.store, blobs=self.blobs, segments=self.segments, thumbnails=self.thumbnails))
        self.measuring = DatasetMeasuring(
            self.store, self.blobs, self.task_service, curated=self.curated, curation=self.curation
        )
        return self

    async def measured(self, project: str, dataset: str, hashes: Mapping[str, int]) -> None:
        """Takes in signals of a version's pictures: perceptual hash by digest, the rest the same for all."""
        rows = sorted(hashes.items())
        columns = {
            "digest": pa.array([bytes.fromhex(digest) for digest, _ in rows], pa.binary(32)),
            "phash": pa.array([value for _, value in rows], pa.uint64()),
            "dhash": pa.array([0] * len(rows), pa.uint64()),
            **{
                name: pa.array([0.5] * len(rows), pa.float32())
                for name in ("sharpness", "exposure", "contrast", "quality")
            },
            "algorithm_version": pa.array([SIGNALS_VERSION] * len(rows), pa.int32()),
        }
        path = self.root / "measured.parquet"
        pq.write_table(pa.table(columns).cast(MEASURED_SCHEMA), path)
        blob = await self.blobs.put_file(path)
        _, version = await self.datasets.get(self.administrator, project, dataset)
        manifest = await self.curation.manifest(version.version)
        segment = await self.curated.take_measured(blob.digest, sources=[manifest])
        async with self.store.transaction() as tx:
            await tx.catalogue.add_signal_segment(segment, algorithm_version=SIGNALS_VERSION)

    async def readable(self, project: str, digests: list[str]) -> set[str]:
        """Returns which of the blobs the project refers to."""
        found = await self.projects.get(self.administrator, project)
        async with self.store.snapshot() as tx:
            return await tx.blobs.referenced(project_scope(found.project.id), digests)
