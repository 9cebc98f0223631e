"""Thumbnails: made once for the installation; a project's people read those of their datasets' pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from lodeworks_formats.manifest import SegmentRef, VersionManifest

from lodeworks_controller.domain.dataset import DatasetVersion, Operation
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.lineage import DATASET_VERSION
from lodeworks_controller.domain.manifest import Derived, near
from lodeworks_controller.domain.task.task import NewTask, ObjectRef
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.curation import CurationSegments
from lodeworks_controller.service.dataset import find_version
from lodeworks_controller.service.dataset_tasks import Submitter
from lodeworks_controller.service.dataset_versions import manifest_of
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.segments import BytesStore, EachDigests, Segments, load_manifest
from lodeworks_controller.service.store import Store, Transaction

_VERSIONS_MOST = 8
_DIGESTS_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Shrinking:
    """A task that makes so many thumbnails; no task when none is missing."""

    task_id: str
    pictures: int


class ThumbnailService:
    """Asks for thumbnails, and takes them in."""

    def __init__(
        self, store: Store, blobs: BytesStore, tasks: Submitter, *, segments: Segments, curated: CurationSegments
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._tasks = tasks
        self._segments = segments
        self._curated = curated

    async def make(
        self,
        principal: Principal,
        project: str,
        datasets: Sequence[str],
        *,
        digests: Sequence[str] = (),
        request_id: str = "",
    ) -> Shrinking:
        """Starts to make the thumbnails that pictures of versions lack; of all pictures, or of the named ones."""
        once = Once(principal.actor, "dataset.thumbnails", request_id)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            versions = await _versions(tx, found.id, datasets)
        wanted = _checked(digests)
        sources = await self.sources(versions, wanted)
        # Another project may have had them made: its thumbnails are ours where the pictures are.
        scope = project_scope(found.id)

        async def refer(known: Sequence[str]) -> None:
            async with self._store.transaction() as tx:
                await tx.blobs.reference(scope, known)

        thumbnails = await self._known(sources)
        if thumbnails:
            await self._curated.thumbnails_of(sources, thumbnails=thumbnails, each=refer)
        missing = await self._curated.unshrunk(sources, thumbnails=thumbnails)
        if missing is None:
            return Shrinking("", 0)
        async with self._store.transaction() as tx:
            made = await once.result(tx)
            if made is not None:
                return Shrinking(made, missing.statistics.pictures)
            wish = NewTask(
                kind="thumbnails",
                project_id=found.id,
                title=f"thumbnails of {', '.join(version.full_name for version in versions)}",
                spec={
                    "version_ids": [version.id for version in versions],
                    "object_type": versions[0].object_type.value,
                    "digests": list(wanted),
                },
                created_by=principal.user_id,
                requires=frozenset({"builtin:thumbnails"}),
                subject=ObjectRef(DATASET_VERSION, versions[0].id, versions[0].full_name),
            )
            task = await self._tasks.submit(tx, wish)
            await once.keep(tx, task.id)
            return Shrinking(task.id, missing.statistics.pictures)

    async def sources(self, versions: Sequence[DatasetVersion], digests: Sequence[str]) -> Sequence[VersionManifest]:
        """Returns the manifests of versions, or those of their pictures with these digests alone."""
        manifests = [await load_manifest(self._blobs, one.require_content().manifest_digest) for one in versions]
        if not digests:
            return manifests
        chosen = [await self._segments.select(manifest, digests) for manifest in manifests]
        return [
            manifest_of(part, object_type=version.object_type.value, operation=Operation.FILTER)
            for part, version in zip(chosen, versions, strict=True)
        ]

    async def missing(self, sources: Sequence[VersionManifest]) -> Derived | None:
        """Returns the pictures that have no thumbnail, as a version that nobody sees; None when all have."""
        return await self._curated.unshrunk(sources, thumbnails=await self._known(sources))

    async def take_in(self, shrunk: str, *, sources: Sequence[VersionManifest], each: EachDigests) -> SegmentRef:
        """Turns what a worker made (a blob) into a segment, after each of its thumbnails was handed over."""
        return await self._curated.take_shrunk(shrunk, sources=sources, each=each)

    async def _known(self, sources: Sequence[VersionManifest]) -> Sequence[SegmentRef]:
        async with self._store.snapshot() as tx:
            return near(await tx.catalogue.thumbnail_segments(), sources)


async def _versions(tx: Transaction, project_id: str, datasets: Sequence[str]) -> list[DatasetVersion]:
    if not 1 <= len(datasets) <= _VERSIONS_MOST:
        raise InvalidError("SETTING_INVALID", f"name 1 to {_VERSIONS_MOST} datasets", field="datasets")
    versions = [await find_version(tx, project_id, text) for text in datasets]
    for version in versions:
        version.require_content()
    return versions


def _checked(digests: Sequence[str]) -> tuple[str, ...]:
    if len(digests) > _DIGESTS_MOST:
        message = f"name at most {_DIGESTS_MOST} pictures, or none for all of them"
        raise InvalidError("SETTING_INVALID", message, field="digests")
    for digest in digests:
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):  # noqa: PLR2004 - sha256 in hex
            raise InvalidError("SETTING_INVALID", f"{digest[:80]!r} is no sha256 in hex", field="digests")
    return tuple(dict.fromkeys(digests))
