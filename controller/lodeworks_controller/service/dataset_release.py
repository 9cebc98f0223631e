"""What deleted versions leave behind: their project stops referring to what only they had.

A version that is deleted stays readable for a grace, in case somebody holds on to it. Then references to its objects
are dropped, unless another version of the project has them; the collection of blobs sweeps what nobody refers to.

A version in the making may share pictures with a deleted one. While a project has one, its deleted versions wait; a
pass that meets a version that was not there when it began drops nothing; and an operation that meets a release, or a
parent that was deleted, writes no version down (`version_making`).
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Final

from lodeworks_formats.manifest import VersionManifest

from lodeworks_controller.domain.dataset import DatasetVersion, VersionState
from lodeworks_controller.domain.manifest import digests_of, near
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.curation import CurationSegments
from lodeworks_controller.service.segments import BytesStore, load_manifest
from lodeworks_controller.service.store import Store

GRACE: Final = timedelta(hours=1)


class DatasetRelease:
    """Drops references to what only deleted versions had.

    Args:
        store: The database.
        blobs: Where manifests lie.
        segments: Compares members.
        grace: How long a deleted version stays whole.
    """

    def __init__(
        self, store: Store, blobs: BytesStore, segments: CurationSegments, *, grace: timedelta = GRACE
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments
        self._grace = grace

    async def run(self) -> int:
        """Releases what is due and returns how many versions that were; what moved meanwhile waits for the next run."""
        async with self._store.snapshot() as tx:
            due = await tx.datasets.unreleased(before=tx.now() - self._grace)
        released = 0
        for project_id, versions in groupby(sorted(due, key=_project_of), key=_project_of):
            released += await self._release(project_id, list(versions))
        return released

    async def _release(self, project_id: str, gone: Sequence[DatasetVersion]) -> int:
        async with self._store.snapshot() as tx:
            living = await tx.datasets.living(project_id)
            thumbnails = await tx.catalogue.thumbnail_segments()
        if any(version.state is VersionState.CREATING for version in living):
            return 0  # it may refer to pictures that are named by nobody else yet
        dead = await self._manifests(version.content.manifest_digest for version in gone if version.content)
        alive = await self._manifests(version.content.manifest_digest for version in living if version.content)
        objects = {digest for manifest in dead.values() for digest in digests_of(manifest)} | dead.keys()
        objects -= {digest for manifest in alive.values() for digest in digests_of(manifest)} | alive.keys()
        pictures: list[str] = []

        async def note(digests: Sequence[str]) -> None:
            pictures.extend(digests)

        gone_for = list(dead.values())
        await self._segments.orphans(gone_for, list(alive.values()), thumbnails=near(thumbnails, gone_for), each=note)
        async with self._store.transaction() as tx:
            now = await tx.datasets.living(project_id)
            if {version.id for version in now} != {version.id for version in living}:
                return 0
            await tx.blobs.release(project_scope(project_id), [*sorted(objects), *pictures])
            for version in gone:
                await tx.datasets.put_version(version.released(at=tx.now()))
        return len(gone)

    async def _manifests(self, digests: Iterable[str]) -> dict[str, VersionManifest]:
        return {digest: await load_manifest(self._blobs, digest) for digest in dict.fromkeys(digests)}


def _project_of(version: DatasetVersion) -> str:
    return version.project_id
