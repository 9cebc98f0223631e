"""Datasets kept in order: tags, likeness, differences, lineage, leaks, sharing, measures and analyses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeworks.api.dataset.v1 import curation_pb2 as pb
from lodeworks.api.dataset.v1.curation_pb2_grpc import CurationServiceStub
from lodeworks.blocking.dataset_version import DatasetVersion
from lodeworks.blocking.paging import pages
from lodeworks.blocking.task import Task, done, task_of
from lodeworks.connection import Connection, new_request_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lodeworks.api.dataset.v1.dataset_pb2 import Dataset, Filter
    from lodeworks.api.task.v1.task_pb2 import Task as TaskData


class Analysis:
    """Distributions of datasets: numbers, and a page that shows them.

    Args:
        connection: Where it lives.
        project: Id or name of its project.
        result: What its task says of the two files.
    """

    def __init__(self, connection: Connection, project: str, result: str) -> None:
        self._connection = connection
        self._project = project
        self._summary, self._page = (part.partition(":") for part in result.split(","))

    def summary(self) -> Mapping[str, Any]:
        """Returns all numbers, by dataset and measure."""
        document: Mapping[str, Any] = json.loads(self._connection.read_blob(self._project, self._summary[0]))
        return document

    def report_html(self, out: Path | str) -> Path:
        """Writes the page into a file; it needs no network."""
        path = Path(out)
        self._connection.download(self._project, self._page[0], path, size_bytes=int(self._page[2]))
        return path


class Curation:
    """What keeps the datasets of a project in order.

    Args:
        connection: Where they live.
        project: Name or id of the project.
    """

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def tag(
        self,
        dataset: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        where: Filter | None = None,
        boxes: bool = False,
        class_names: Sequence[str] = (),
        to: str = "",
    ) -> DatasetVersion:
        """Makes a version with tags added and taken away.

        Args:
            dataset: ``name``, ``name@3`` or id.
            add: Tags to add.
            remove: Tags to take away.
            where: Which pictures; None = all.
            boxes: Tags of boxes, not of pictures.
            class_names: Boxes of these classes; empty = all.
            to: Name of the dataset that gets the version; empty = the same.
        """
        request = pb.TagDatasetRequest(
            project=self._project,
            dataset=dataset,
            filter=where,
            add=add,
            remove=remove,
            boxes=boxes,
            class_names=class_names,
            to=to,
            request_id=new_request_id(),
        )
        response: pb.TagDatasetResponse = self._connection.call(CurationServiceStub, "TagDataset", request)
        return DatasetVersion(self._connection, self._project, response.version)

    def dedup(self, dataset: str, *, distance: int = 3, to: str = "", dry_run: bool = False) -> pb.DedupDatasetResponse:
        """Makes a version that keeps one of each group of pictures whose hashes differ in at most so many bits.

        Raises ConflictError SIGNALS_MISSING while pictures were not measured: see ``signals``.
        """
        request = pb.DedupDatasetRequest(
            project=self._project,
            dataset=dataset,
            distance=distance,
            to=to,
            dry_run=dry_run,
            request_id=new_request_id(),
        )
        response: pb.DedupDatasetResponse = self._connection.call(CurationServiceStub, "DedupDataset", request)
        return response

    def diff(self, before: str, after: str, *, limit: int = 20) -> pb.DiffVersionsResponse:
        """Counts what is different between two versions, and shows some pictures of each kind."""
        request = pb.DiffVersionsRequest(project=self._project, before=before, after=after, limit=limit)
        response: pb.DiffVersionsResponse = self._connection.call(CurationServiceStub, "DiffVersions", request)
        return response

    def lineage(self, dataset: str) -> pb.GetLineageResponse:
        """Returns what a version was made from and what was made from it, through all generations."""
        request = pb.GetLineageRequest(project=self._project, dataset=dataset)
        response: pb.GetLineageResponse = self._connection.call(CurationServiceStub, "GetLineage", request)
        return response

    def leaks(self, datasets: Sequence[str], *, distance: int | None = None, limit: int = 20) -> pb.FindLeaksResponse:
        """Finds pictures that versions share; with a distance also those that look alike (see ``signals``)."""
        request = pb.FindLeaksRequest(project=self._project, datasets=datasets, distance=distance, limit=limit)
        response: pb.FindLeaksResponse = self._connection.call(CurationServiceStub, "FindLeaks", request)
        return response

    def signals(self, datasets: Sequence[str]) -> Task[int]:
        """Measures the pictures that were not measured yet; the result is how many those were."""
        request = pb.ComputeSignalsRequest(project=self._project, datasets=datasets, request_id=new_request_id())
        response: pb.ComputeSignalsResponse = self._connection.call(CurationServiceStub, "ComputeSignals", request)
        missing = response.missing
        if not response.task_id:
            return done(self._connection, missing)

        def count(_: TaskData) -> int:
            return missing

        return task_of(self._connection, response.task_id, count)

    def thumbnails(self, datasets: Sequence[str], *, picture_digests: Sequence[str] = ()) -> Task[int]:
        """Makes the thumbnails that pictures lack; the result is how many those were.

        Args:
            datasets: One or more: ``name``, ``name@3`` or id.
            picture_digests: Only of these pictures, at most 1,000; empty = of all.
        """
        request = pb.MakeThumbnailsRequest(
            project=self._project, datasets=datasets, picture_digests=picture_digests, request_id=new_request_id()
        )
        response: pb.MakeThumbnailsResponse = self._connection.call(CurationServiceStub, "MakeThumbnails", request)
        missing = response.missing
        if not response.task_id:
            return done(self._connection, missing)

        def count(_: TaskData) -> int:
            return missing

        return task_of(self._connection, response.task_id, count)

    def analyze(self, datasets: Sequence[str], *, prediction_set_ids: Sequence[str] = ()) -> Task[Analysis]:
        """Draws distributions of datasets side by side; their pictures must be measured (see ``signals``).

        Args:
            datasets: One or more.
            prediction_set_ids: One for each, in the same order; "" = its newest, "none" = without.
        """
        request = pb.AnalyzeDatasetsRequest(
            project=self._project,
            datasets=datasets,
            prediction_set_ids=prediction_set_ids,
            request_id=new_request_id(),
        )
        response: pb.AnalyzeDatasetsResponse = self._connection.call(CurationServiceStub, "AnalyzeDatasets", request)

        def made(task: TaskData) -> Analysis:
            return Analysis(self._connection, self._project, task.result.id)

        return task_of(self._connection, response.task_id, made)

    def hide(self, dataset: str) -> Dataset:
        """Leaves a dataset out of lists."""
        return self._set_hidden(dataset, hidden=True)

    def restore(self, dataset: str) -> Dataset:
        """Shows a hidden dataset in lists again."""
        return self._set_hidden(dataset, hidden=False)

    def share(self, dataset: str, *, public: bool = True) -> Dataset:
        """Lets everybody of the installation copy a dataset; False takes it back, copies stay."""
        request = pb.SetPublicRequest(
            project=self._project, dataset=dataset, public=public, request_id=new_request_id()
        )
        response: pb.SetPublicResponse = self._connection.call(CurationServiceStub, "SetPublic", request)
        return response.dataset

    def public(self) -> Iterator[pb.PublicDataset]:
        """Yields the public datasets of all projects."""
        request = pb.ListPublicDatasetsRequest()
        for dataset in pages(self._connection, CurationServiceStub, "ListPublicDatasets", request, items="datasets"):
            yield dataset

    def _set_hidden(self, dataset: str, *, hidden: bool) -> Dataset:
        request = pb.SetHiddenRequest(
            project=self._project, dataset=dataset, hidden=hidden, request_id=new_request_id()
        )
        response: pb.SetHiddenResponse = self._connection.call(CurationServiceStub, "SetHidden", request)
        return response.dataset
