"""Views: what tasks get of versions. The same version, classes and revision give the same object."""

from collections.abc import Mapping
from typing import Final

from lodeworks_formats.manifest import canonical_json, sha256_hex

from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.view import View
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.segments import Segments, load_manifest
from lodeworks_controller.service.store import Store

_FORMAT: Final = 1


class ViewService:
    """Resolves versions into views, and builds each only once."""

    def __init__(self, store: Store, blobs: BlobStore, segments: Segments) -> None:
        self._store = store
        self._blobs = blobs
        self._segments = segments

    async def resolve(
        self,
        version_id: str,
        *,
        selection: ClassSelection | None = None,
        revision: int | None = None,
        prediction_set_id: str = "",
    ) -> View:
        """Returns the view of a READY version.

        Args:
            version_id: The version.
            selection: Whose boxes go along, in which order; pictures without any stay. None = all classes.
            revision: Of the project's class map; None = the newest.
            prediction_set_id: A set whose boxes go along as predictions.

        Raises:
            ConflictError: DATASET_NOT_READY, DATASET_FAILED, DATASET_DELETED.
            NotFoundError: VERSION_NOT_FOUND, CLASS_NOT_FOUND, REVISION_NOT_FOUND, PREDICTION_SET_NOT_FOUND.
        """
        async with self._store.snapshot() as tx:
            version = await tx.datasets.version(version_id)
            content = version.require_content()
            table = await class_table(tx, version.project_id, revision=revision)
            class_names = (selection or ClassSelection()).apply(table.class_map)
            classes = table.names(chosen=class_names)
            predictions = ""
            if prediction_set_id:
                shown = await tx.prediction_sets.get(prediction_set_id)
                if shown.project_id != version.project_id:
                    raise NotFoundError("PREDICTION_SET_NOT_FOUND", f"there is no prediction set {prediction_set_id}")
                predictions = shown.manifest_digest
            key = _key(content.manifest_digest, classes, class_names, table.class_map.revision, predictions)
            known = await tx.catalogue.view(key)
            scope = project_scope(version.project_id)
            mine = known is not None and await tx.blobs.referenced(scope, [known.digest])
        if known is not None and mine and not await self._blobs.find_missing([known.digest]):
            return known
        stored = await self._segments.view(
            await load_manifest(self._blobs, content.manifest_digest),
            classes=classes,
            class_names=class_names,
            class_map_revision=table.class_map.revision,
            predictions=await load_manifest(self._blobs, predictions) if predictions else None,
        )
        view = View(stored.digest, stored.size_bytes, stored.pictures, class_names, table.class_map.revision)
        async with self._store.transaction() as tx:
            await tx.catalogue.put_view(key, view)
            await tx.blobs.reference(scope, [view.digest])
        return view


def _key(
    manifest: str, classes: Mapping[int, str], class_names: tuple[str, ...], revision: int, predictions: str
) -> str:
    parts = {
        "format": _FORMAT,
        "manifest": manifest,
        "classes": sorted(classes.items()),
        "class_names": list(class_names),
        "revision": revision,
        "predictions": predictions,
    }
    return sha256_hex(canonical_json(parts))
