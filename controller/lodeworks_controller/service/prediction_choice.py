"""Which prediction set a person means: its id, the name of its model, or none, which is the newest."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from lodeworks_controller.domain.dataset import DatasetVersion
from lodeworks_controller.domain.operation import Filter
from lodeworks_controller.domain.prediction_set import PredictionSet
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.service.segments import BytesStore, PredictionsBeside, load_manifest
from lodeworks_controller.service.store import Transaction

_NEWEST = 1_000


async def find_predictions(tx: Transaction, version: DatasetVersion, text: str) -> PredictionSet:
    """Returns the prediction set that a text means beside a version.

    An empty text is the newest set of the version, else of what the version was made from, the nearest first: sets join
    by picture. A model's name may leave out version and stage: ``cells`` means ``cells@3:best``.

    Raises NotFoundError PREDICTION_SET_NOT_FOUND.
    """
    try:
        found = await tx.prediction_sets.get(text) if text else None
    except NotFoundError:
        found = None
    if found is not None and found.project_id == version.project_id and found.deleted_at is None:
        return found
    async for generation in _generations(tx, version):
        sets = [one for id_ in generation for one in await tx.prediction_sets.list(id_, limit=_NEWEST)]
        chosen = _newest(sets, text)
        if chosen is not None:
            return chosen
    wanted = f"there is no prediction set {text!r}" if text else "there are no predictions"
    message = f"{wanted} for {version.full_name}; make one with `lode model infer MODEL --on {version.full_name}`"
    raise NotFoundError("PREDICTION_SET_NOT_FOUND", message, name=text)


async def resolved(tx: Transaction, version: DatasetVersion, which: Filter) -> tuple[Filter, str]:
    """Returns a filter that names its prediction set by id, and the digest of that set's manifest; "" for none."""
    if which.predictions is None:
        return which, ""
    chosen = await find_predictions(tx, version, which.predictions.prediction_set)
    return which.about(chosen.id), chosen.manifest_digest


async def beside(blobs: BytesStore, digest: str, classes: Mapping[int, str]) -> PredictionsBeside | None:
    """Returns what a condition on predictions is asked of; None where it asks nothing about them."""
    return PredictionsBeside(await load_manifest(blobs, digest), classes) if digest else None


async def _generations(tx: Transaction, version: DatasetVersion) -> AsyncIterator[Sequence[str]]:
    """Yields the version, then what it was made from, then what that was made from, within its project."""
    met, here = {version.id}, [version]
    while here:
        yield [one.id for one in here]
        above = await tx.datasets.by_ids(parent for one in here for parent in one.making.parents)
        # Who copied a public dataset has no part in the predictions of the project that it came from.
        here = [one for one in above.values() if one.project_id == version.project_id and one.id not in met]
        met.update(one.id for one in here)


def _newest(sets: Iterable[PredictionSet], text: str) -> PredictionSet | None:
    named: Sequence[PredictionSet] = [one for one in sets if not text or _means(text, one.model_name)]
    return max(named, key=lambda one: (one.created_at, one.id), default=None)


def _means(text: str, model_name: str) -> bool:
    return model_name == text or model_name.startswith((f"{text}@", f"{text}:"))
