"""Evaluations: shown, and asked about thresholds, classes and boxes.

Every question is answered from the stored match table alone, with the threshold side of ``lodeworks_evaluation``.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from lodeworks_evaluation import thresholds
from lodeworks_evaluation.boxes_by_outcome import BoxOutcome, OutcomePage, boxes_by_outcome

from lodeworks_controller.domain.evaluation import Evaluation, EvaluationState
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError
from lodeworks_controller.service.content import BlobStore
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction

DEFAULT_IOU: Final = 0.5
DEFAULT_CONF: Final = 0.25
_KEPT: Final = 8

T = TypeVar("T")


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

    outcome: BoxOutcome
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
        model_version_id: str = "",
        dataset_version_id: str = "",
        before_id: str = "",
        limit: int = 100,
    ) -> Sequence[Evaluation]:
        """Returns evaluations, newest first."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            return await tx.evaluations.list(
                project_id,
                model_version_id=model_version_id,
                dataset_version_id=dataset_version_id,
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

    async def best_thresholds(
        self, evaluation: Evaluation, *, iou: float
    ) -> Sequence[tuple[str, thresholds.Threshold, thresholds.Counts]]:
        """Returns class, confidence of highest F1, and the counts there; classes without a hit are left out."""

        def answer(matches: thresholds.Matches) -> list[tuple[str, thresholds.Threshold, thresholds.Counts]]:
            found = ((name, thresholds.best_threshold(matches, class_name=name)) for name in matches.class_names)
            return [
                (name, best, thresholds.counts_at(matches, conf=best.conf)[1][name])
                for name, best in found
                if best is not None
            ]

        return await self._ask(evaluation, answer, iou=iou)

    async def counts(
        self, evaluation: Evaluation, *, iou: float, conf: float
    ) -> tuple[thresholds.Counts, dict[str, thresholds.Counts]]:
        """Returns right and wrong boxes at a confidence, together and by class."""
        return await self._ask(evaluation, lambda matches: thresholds.counts_at(matches, conf=conf), iou=iou)

    async def curve(self, evaluation: Evaluation, *, iou: float, class_name: str | None) -> thresholds.Curve:
        """Returns precision and recall over confidence."""
        return await self._ask(evaluation, lambda matches: thresholds.curve(matches, class_name=class_name), iou=iou)

    async def confusion(self, evaluation: Evaluation, *, iou: float, conf: float) -> thresholds.Confusion:
        """Returns what was taken for what."""
        return await self._ask(evaluation, lambda matches: thresholds.confusion(matches, conf=conf), iou=iou)

    async def boxes(self, evaluation: Evaluation, query: BoxQuery) -> OutcomePage:
        """Returns a page of boxes of one outcome with their pictures."""
        table = await self._table(evaluation)
        return await _answered(
            lambda: boxes_by_outcome(
                table,
                query.outcome,
                iou=query.iou,
                conf=query.conf,
                class_name=query.class_name,
                start=query.start,
                limit=query.limit,
            )
        )

    async def _ask(self, evaluation: Evaluation, question: Callable[[thresholds.Matches], T], *, iou: float) -> T:
        table = await self._table(evaluation)
        return await _answered(lambda: question(thresholds.read_matches(table, iou=iou)))

    async def _table(self, evaluation: Evaluation) -> bytes:
        digest = evaluation.require_findings().match_table_digest
        if digest in self._tables:
            self._tables.move_to_end(digest)
            return self._tables[digest]
        data = await self._blobs.read(digest)
        self._tables[digest] = data
        while len(self._tables) > _KEPT:
            self._tables.popitem(last=False)
        return data


async def _answered(work: Callable[[], T]) -> T:
    """Runs a question in a thread; what the table cannot answer becomes InvalidError."""
    try:
        return await asyncio.to_thread(work)
    except ValueError as error:
        raise InvalidError("QUESTION_INVALID", str(error)) from error


async def _of_project(tx: Transaction, project_id: str, evaluation_id: str) -> Evaluation:
    evaluation = await tx.evaluations.get(evaluation_id)
    if evaluation.project_id != project_id:
        raise NotFoundError("EVALUATION_NOT_FOUND", f"the project has no evaluation {evaluation_id}", id=evaluation_id)
    return evaluation
