"""Evaluations: what a model gets right and wrong, to the single box."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lodeworks.api.evaluation.v1 import evaluation_pb2 as pb
from lodeworks.api.evaluation.v1.evaluation_pb2_grpc import EvaluationServiceStub
from lodeworks.connection import AsyncConnection, new_request_id
from lodeworks.resources.paging import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class AsyncEvaluation:
    """How well a model does on a dataset.

    Args:
        connection: Where it lives.
        project: Id of its project.
        data: What the server says of it.
    """

    def __init__(self, connection: AsyncConnection, project: str, data: pb.Evaluation) -> None:
        self._connection = connection
        self._project = project
        self.data = data

    @property
    def id(self) -> str:
        """Returns the id."""
        return self.data.id

    @property
    def ap(self) -> float:
        """Returns mAP50:95."""
        return self.data.ap

    @property
    def ap50(self) -> float:
        """Returns mAP50."""
        return self.data.ap50

    @property
    def per_class(self) -> Mapping[str, pb.ClassScore]:
        """Returns the scores by class."""
        return {score.class_name: score for score in self.data.classes}

    @property
    def summary(self) -> Mapping[str, Any]:
        """Returns everything that was measured, as stored."""
        document: Mapping[str, Any] = json.loads(self.data.summary_json or "{}")
        return document

    def __repr__(self) -> str:
        """Returns one line for people."""
        return f"<{self.data.model_name} on {self.data.dataset_name}: mAP50 {self.ap50:.4f}, mAP50:95 {self.ap:.4f}>"

    async def thresholds(self, *, iou: float = 0.5) -> list[pb.ClassThreshold]:
        """Returns the confidence with the best F1 for every class."""
        request = pb.GetThresholdsRequest(project=self._project, evaluation_id=self.id, iou=iou)
        response: pb.GetThresholdsResponse = await self._connection.call(
            EvaluationServiceStub, "GetThresholds", request
        )
        return list(response.classes)

    async def counts(self, *, iou: float = 0.5, confidence: float = 0.25) -> pb.GetCountsResponse:
        """Counts right and wrong boxes at a confidence, by class and in all."""
        request = pb.GetCountsRequest(project=self._project, evaluation_id=self.id, iou=iou, confidence=confidence)
        response: pb.GetCountsResponse = await self._connection.call(EvaluationServiceStub, "GetCounts", request)
        return response

    async def curve(self, *, class_name: str = "", iou: float = 0.5) -> list[pb.CurvePoint]:
        """Returns precision and recall by falling confidence, of one class or of all together."""
        request = pb.GetCurveRequest(project=self._project, evaluation_id=self.id, class_name=class_name, iou=iou)
        response: pb.GetCurveResponse = await self._connection.call(EvaluationServiceStub, "GetCurve", request)
        return list(response.points)

    async def confusion(self, *, iou: float = 0.5, confidence: float = 0.25) -> pb.GetConfusionResponse:
        """Returns which classes are taken for which; rows are truth, columns predictions, background last."""
        request = pb.GetConfusionRequest(project=self._project, evaluation_id=self.id, iou=iou, confidence=confidence)
        response: pb.GetConfusionResponse = await self._connection.call(EvaluationServiceStub, "GetConfusion", request)
        return response

    async def boxes(
        self, kind: str, *, class_name: str = "", iou: float = 0.5, confidence: float = 0.25
    ) -> AsyncIterator[pb.EvaluatedBox]:
        """Yields boxes by outcome: fp, fn, tp or mtp, the truth that a tp matched."""
        names = {"tp": "TRUE_POSITIVE", "fp": "FALSE_POSITIVE", "fn": "FALSE_NEGATIVE", "mtp": "MATCHED_TRUTH"}
        request = pb.ListBoxesRequest(
            project=self._project,
            evaluation_id=self.id,
            outcome=pb.BoxOutcome.Value(f"BOX_OUTCOME_{names[kind]}"),
            class_name=class_name,
            iou=iou,
            confidence=confidence,
        )
        async for box in pages(self._connection, EvaluationServiceStub, "ListBoxes", request, items="boxes"):
            yield box

    async def report_html(self) -> str:
        """Returns the diagnosis as one HTML page, mistakes box by box."""
        return (await self._connection.read_blob(self._project, self.data.report_digest)).decode()


class AsyncEvaluations:
    """The evaluations of a project.

    Args:
        connection: Where they live.
        project: Name or id of the project.
    """

    def __init__(self, connection: AsyncConnection, project: str) -> None:
        self._connection = connection
        self._project = project

    async def get(self, evaluation_id: str) -> AsyncEvaluation:
        """Returns an evaluation. Raises NotFoundError."""
        response: pb.GetEvaluationResponse = await self._connection.call(
            EvaluationServiceStub,
            "GetEvaluation",
            pb.GetEvaluationRequest(project=self._project, evaluation_id=evaluation_id),
        )
        return AsyncEvaluation(self._connection, self._project, response.evaluation)

    async def list(self, *, model: str = "", dataset: str = "") -> AsyncIterator[AsyncEvaluation]:
        """Yields evaluations, newest first, of one model or on one dataset if named."""
        request = pb.ListEvaluationsRequest(project=self._project, model=model, dataset=dataset)
        async for data in pages(
            self._connection, EvaluationServiceStub, "ListEvaluations", request, items="evaluations"
        ):
            yield AsyncEvaluation(self._connection, self._project, data)

    async def delete(self, evaluation_id: str) -> None:
        """Deletes an evaluation."""
        request = pb.DeleteEvaluationRequest(
            project=self._project, evaluation_id=evaluation_id, request_id=new_request_id()
        )
        await self._connection.call(EvaluationServiceStub, "DeleteEvaluation", request)
