"""Evaluations: shown, and asked about thresholds, classes and boxes.

Every question is answered from the stored match table alone (`evaluation_answers`).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from lodeworks_controller.domain.evaluation import Evaluation, EvaluationState
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.dataset import find_version as find_dataset
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.model import find_version as find_model
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction

DEFAULT_IOU: Final = 0.5
DEFAULT_CONF: Final = 0.25
_KEPT_BYTES: Final = 64 << 20
_ANSWERS: Final = "lodeworks_controller.service.evaluation_answers"

if TYPE_CHECKING:
    from lodeworks_evaluation.boxes_by_outcome import OutcomePage


class Outcome(Enum):
    """What became of a box. MTP is the ground truth that a true positive found."""

    TP = "tp"
    FP = "fp"
    FN = "fn"
    MTP = "mtp"


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Right and wrong boxes, and the shares made of them; a share of nothing is 0."""

    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class CountsAt:
    """The counts at one confidence."""

    total: OutcomeCounts
    by_class: Mapping[str, OutcomeCounts]


@dataclass(frozen=True, slots=True)
class BestThreshold:
    """The confidence of highest F1 of a class, and the counts there."""

    class_name: str
    conf: float
    counts: OutcomeCounts


class EvaluationRows(Protocol):
    """The evaluations as one transaction sees them. No method commits."""

    async def get(self, evaluation_id: str) -> Evaluation:
        """Returns the evaluation, or raises NotFoundError."""
        ...

    async def insert(self, evaluation: Evaluation) -> None:
        """Stores a new evaluation."""
        ...

    async def put(self, evaluation: Evaluation) -> None:
        """Stores how an evaluation stands."""
        ...

    async def delete(self, evaluation_id: str) -> None:
        """Removes an evaluation."""
        ...

    async def list(
        self,
        project_id: str,
        *,
        model_version_id: str = "",
        dataset_version_id: str = "",
        before_id: str = "",
        limit: int = 100,
    ) -> Sequence[Evaluation]:
        """Returns evaluations of a project, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class BoxQuery:
    """Which boxes of an evaluation are asked for."""

    outcome: Outcome
    class_name: str | None
    iou: float
    conf: float
    start: int
    limit: int


class EvaluationService:
    """Answers what a model gets right and wrong."""

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._tables: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, principal: Principal, project: str, evaluation_id: str) -> Evaluation:
        """Returns an evaluation."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            return await _of_project(tx, project_id, evaluation_id)

    async def list(
        self,
        principal: Principal,
        project: str,
        *,
        model: str = "",
        dataset: str = "",
        before_id: str = "",
        limit: int = 100,
    ) -> Sequence[Evaluation]:
        """Returns evaluations, newest first; of a model's version and on a dataset's version if these are named."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            return await tx.evaluations.list(
                project_id,
                model_version_id=(await find_model(tx, project_id, model))[0].id if model else "",
                dataset_version_id=(await find_dataset(tx, project_id, dataset)).id if dataset else "",
                before_id=before_id,
                limit=limit,
            )

    async def delete(self, principal: Principal, project: str, evaluation_id: str, *, request_id: str = "") -> None:
        """Deletes an evaluation; one in the making is refused."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "evaluation.delete", request_id)
            if await once.result(tx) is not None:
                return
            evaluation = await _of_project(tx, project_id, evaluation_id)
            if evaluation.state is EvaluationState.CREATING:
                raise ConflictError("EVALUATION_NOT_READY", f"cancel its task {evaluation.task_id} first")
            await tx.evaluations.delete(evaluation_id)
            await once.keep(tx, evaluation_id)
            await tx.audit.add("evaluation.delete", evaluation_id, actor=principal.actor, project_id=project_id)

    async def best_thresholds(self, evaluation: Evaluation, *, iou: float) -> Sequence[BestThreshold]:
        """Returns for each class the confidence of highest F1; classes without a hit are left out."""
        answer: Sequence[BestThreshold] = await self._ask(evaluation, "best_thresholds", iou=iou)
        return answer

    async def counts(self, evaluation: Evaluation, *, iou: float, conf: float) -> CountsAt:
        """Returns right and wrong boxes at a confidence, together and by class."""
        answer: CountsAt = await self._ask(evaluation, "counts", iou=iou, conf=conf)
        return answer

    async def curve(
        self, evaluation: Evaluation, *, iou: float, class_name: str | None, most_points: int
    ) -> Sequence[tuple[float, float, float]]:
        """Returns (confidence, precision, recall) by falling confidence."""
        answer: Sequence[tuple[float, float, float]] = await self._ask(
            evaluation, "curve", iou=iou, class_name=class_name, most_points=most_points
        )
        return answer

    async def confusion(
        self, evaluation: Evaluation, *, iou: float, conf: float
    ) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
        """Returns the classes with the background last, and truth × prediction."""
        answer: tuple[Sequence[str], Sequence[Sequence[int]]] = await self._ask(
            evaluation, "confusion", iou=iou, conf=conf
        )
        return answer

    async def boxes(self, evaluation: Evaluation, query: BoxQuery) -> "OutcomePage":
        """Returns a page of boxes of one outcome with their pictures."""
        answer: OutcomePage = await self._ask(evaluation, "boxes", query=query)
        return answer

    async def _ask(self, evaluation: Evaluation, question: str, **about: Any) -> Any:
        """Answers in a thread; what the table cannot answer becomes InvalidError."""
        table = await self._table(evaluation)

        def answer() -> Any:
            return getattr(import_module(_ANSWERS), question)(table, **about)

        try:
            return await asyncio.to_thread(answer)
        except ValueError as error:
            raise InvalidError("QUESTION_INVALID", str(error)) from error

    async def _table(self, evaluation: Evaluation) -> bytes:
        digest = evaluation.require_findings().match_table_digest
        if digest in self._tables:
            self._tables.move_to_end(digest)
            return self._tables[digest]
        data = await self._blobs.read(digest)
        self._tables[digest] = data
        while len(self._tables) > 1 and sum(map(len, self._tables.values())) > _KEPT_BYTES:
            self._tables.popitem(last=False)
        return data


async def _of_project(tx: Transaction, project_id: str, evaluation_id: str) -> Evaluation:
    evaluation = await tx.evaluations.get(evaluation_id)
    if evaluation.project_id != project_id:
        raise NotFoundError("EVALUATION_NOT_FOUND", f"the project has no evaluation {evaluation_id}", id=evaluation_id)
    return evaluation
