"""What people ask about evaluations."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc.aio
from lodeworks.api.evaluation.v1 import evaluation_pb2, evaluation_pb2_grpc

from lodeworks_controller.domain.evaluation import Evaluation, EvaluationState
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.evaluation import (
    DEFAULT_CONF,
    DEFAULT_IOU,
    BoxQuery,
    EvaluationService,
    Outcome,
    OutcomeCounts,
)
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]

_STATES = {state: evaluation_pb2.EvaluationState.Value(f"EVALUATION_STATE_{state.name}") for state in EvaluationState}
_OUTCOMES = {
    evaluation_pb2.BOX_OUTCOME_TRUE_POSITIVE: Outcome.TP,
    evaluation_pb2.BOX_OUTCOME_FALSE_POSITIVE: Outcome.FP,
    evaluation_pb2.BOX_OUTCOME_FALSE_NEGATIVE: Outcome.FN,
    evaluation_pb2.BOX_OUTCOME_MATCHED_TRUTH: Outcome.MTP,
}
_MOST_POINTS = 1_000
_NOT_MEASURED = -1.0


class EvaluationServicer(evaluation_pb2_grpc.EvaluationServiceServicer):
    """Serves ``lodeworks.api.evaluation.v1.EvaluationService``."""

    def __init__(self, evaluations: EvaluationService, *, caller: CallerOf) -> None:
        self._evaluations = evaluations
        self._caller = caller

    async def ListEvaluations(
        self, request: evaluation_pb2.ListEvaluationsRequest, context: Context
    ) -> evaluation_pb2.ListEvaluationsResponse:
        """Lists the evaluations of a project."""
        limit = page_size(request.page_size)
        found = await self._evaluations.list(
            await self._caller(context),
            request.project,
            model=request.model,
            dataset=request.dataset,
            before_id=request.page_token,
            limit=limit,
        )
        token = found[-1].id if len(found) == limit else ""
        return evaluation_pb2.ListEvaluationsResponse(
            evaluations=[to_evaluation(one) for one in found], next_page_token=token
        )

    async def GetEvaluation(
        self, request: evaluation_pb2.GetEvaluationRequest, context: Context
    ) -> evaluation_pb2.GetEvaluationResponse:
        """Shows one evaluation."""
        return evaluation_pb2.GetEvaluationResponse(evaluation=to_evaluation(await self._found(request, context)))

    async def GetThresholds(
        self, request: evaluation_pb2.GetThresholdsRequest, context: Context
    ) -> evaluation_pb2.GetThresholdsResponse:
        """Finds the confidence with the best F1 for every class."""
        evaluation = await self._found(request, context)
        best = await self._evaluations.best_thresholds(evaluation, iou=_iou(request))
        return evaluation_pb2.GetThresholdsResponse(
            classes=[
                evaluation_pb2.ClassThreshold(
                    class_name=one.class_name,
                    confidence=one.conf,
                    f1=one.counts.f1,
                    precision=one.counts.precision,
                    recall=one.counts.recall,
                )
                for one in best
            ]
        )

    async def GetCounts(
        self, request: evaluation_pb2.GetCountsRequest, context: Context
    ) -> evaluation_pb2.GetCountsResponse:
        """Counts right and wrong boxes at a confidence."""
        evaluation = await self._found(request, context)
        counts = await self._evaluations.counts(evaluation, iou=_iou(request), conf=_conf(request))
        return evaluation_pb2.GetCountsResponse(
            classes=[_to_outcome(name, one) for name, one in counts.by_class.items()],
            total=_to_outcome("", counts.total),
        )

    async def GetCurve(
        self, request: evaluation_pb2.GetCurveRequest, context: Context
    ) -> evaluation_pb2.GetCurveResponse:
        """Gives precision and recall over confidence."""
        evaluation = await self._found(request, context)
        points = await self._evaluations.curve(
            evaluation, iou=_iou(request), class_name=request.class_name or None, most_points=_MOST_POINTS
        )
        return evaluation_pb2.GetCurveResponse(
            points=[
                evaluation_pb2.CurvePoint(confidence=conf, precision=precision, recall=recall)
                for conf, precision, recall in points
            ]
        )

    async def GetConfusion(
        self, request: evaluation_pb2.GetConfusionRequest, context: Context
    ) -> evaluation_pb2.GetConfusionResponse:
        """Tells which classes are taken for which."""
        evaluation = await self._found(request, context)
        labels, rows = await self._evaluations.confusion(evaluation, iou=_iou(request), conf=_conf(request))
        return evaluation_pb2.GetConfusionResponse(class_names=labels, counts=[count for row in rows for count in row])

    async def ListBoxes(
        self, request: evaluation_pb2.ListBoxesRequest, context: Context
    ) -> evaluation_pb2.ListBoxesResponse:
        """Lists boxes by outcome, with their pictures."""
        evaluation = await self._found(request, context)
        if request.outcome not in _OUTCOMES:
            raise InvalidError("OUTCOME_MISSING", "name the outcome: TP, FP, FN or MTP", field="outcome")
        if request.page_token and not request.page_token.isdecimal():
            raise InvalidError("PAGE_TOKEN", "the page token is not one of this list", field="page_token")
        start, limit = int(request.page_token or 0), page_size(request.page_size)
        query = BoxQuery(
            outcome=_OUTCOMES[request.outcome],
            class_name=request.class_name or None,
            iou=_iou(request),
            conf=_conf(request),
            start=start,
            limit=limit,
        )
        page = await self._evaluations.boxes(evaluation, query)
        end = start + len(page.boxes)
        return evaluation_pb2.ListBoxesResponse(
            boxes=[
                evaluation_pb2.EvaluatedBox(
                    digest=box.digest,
                    extension=box.extension,
                    class_name=box.class_name,
                    x=box.x,
                    y=box.y,
                    w=box.w,
                    h=box.h,
                    score=box.score,
                    iou=box.iou,
                    matched_class=box.partner_class,
                )
                for box in page.boxes
            ],
            next_page_token=str(end) if end < page.total else "",
        )

    async def DeleteEvaluation(
        self, request: evaluation_pb2.DeleteEvaluationRequest, context: Context
    ) -> evaluation_pb2.DeleteEvaluationResponse:
        """Deletes an evaluation."""
        await self._evaluations.delete(
            await self._caller(context), request.project, request.evaluation_id, request_id=request.request_id
        )
        return evaluation_pb2.DeleteEvaluationResponse()

    async def _found(self, request: Any, context: Context) -> Evaluation:
        return await self._evaluations.get(await self._caller(context), request.project, request.evaluation_id)


def to_evaluation(evaluation: Evaluation) -> evaluation_pb2.Evaluation:
    """Returns an evaluation as a message."""
    sides, findings = evaluation.sides, evaluation.findings
    summary: Mapping[str, Any] = {} if findings is None else findings.summary
    return evaluation_pb2.Evaluation(
        id=evaluation.id,
        project_id=evaluation.project_id,
        state=_STATES[evaluation.state],
        model_name=sides.model_name,
        variant=sides.variant,
        dataset_name=sides.dataset_name,
        dataset_version_id=sides.dataset_version_id,
        prediction_set_id=evaluation.prediction_set_id,
        protocol=evaluation.protocol,
        ap=_measured(summary.get("ap")),
        ap50=_measured(summary.get("ap50")),
        ap75=_measured(summary.get("ap75")),
        classes=[
            evaluation_pb2.ClassScore(
                class_name=name,
                ap=_measured(scores.get("ap")),
                ap50=_measured(scores.get("ap50")),
                truths=scores.get("truths", 0),
                predictions=scores.get("predictions", 0),
            )
            for name, scores in summary.get("per_class", {}).items()
        ],
        summary_json=json.dumps(summary, sort_keys=True) if summary else "",
        report_digest="" if findings is None else findings.report_digest,
        task_id=evaluation.task_id,
        create_time=to_time(evaluation.created_at),
        warnings=evaluation.warnings,
    )


def _to_outcome(name: str, counts: OutcomeCounts) -> evaluation_pb2.ClassOutcome:
    return evaluation_pb2.ClassOutcome(
        class_name=name,
        true_positives=counts.tp,
        false_positives=counts.fp,
        false_negatives=counts.fn,
        precision=counts.precision,
        recall=counts.recall,
        f1=counts.f1,
    )


def _measured(value: float | None) -> float:
    return _NOT_MEASURED if value is None else value


def _iou(request: Any) -> float:
    return float(request.iou or DEFAULT_IOU)


def _conf(request: Any) -> float:
    return float(request.confidence or DEFAULT_CONF)
