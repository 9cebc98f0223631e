"""The datasets of a project: imported, made, listed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeworks.api.dataset.v1 import dataset_pb2 as pb
from lodeworks.api.dataset.v1.dataset_pb2_grpc import DatasetServiceStub
from lodeworks.blocking.dataset_version import DatasetVersion, version_named
from lodeworks.blocking.paging import pages
from lodeworks.blocking.task import Task, task_of
from lodeworks.connection import Connection, new_request_id
from lodeworks.folder import archive_of, is_address, source_name
from lodeworks.options import TaskOptions, to_message
from lodeworks.settings import settings_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lodeworks.api.task.v1.task_pb2 import Task as TaskData


class Datasets:
    """The datasets of a project.

    Args:
        connection: Where they live.
        project: Name or id of the project.
    """

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def import_from(
        self,
        source: Path | str,
        *,
        to: str = "",
        format: str = "auto",
        unknown_classes: str = "stop",
        class_names: Sequence[str] = (),
        class_map: Mapping[str, str] | None = None,
        labels_for: str = "",
        on_worker: bool = False,
        dry_run: bool = False,
        options: TaskOptions | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Task[DatasetVersion]:
        """Makes a version from a zip file, a folder, an address, or a path on a worker's machine.

        Args:
            source: The zip file or folder, which is uploaded first, and the upload resumes; or ``https://…``.
            to: Name of the dataset that gets the version; may be empty with ``labels_for``.
            format: auto, voc, coco or yolo.
            unknown_classes: stop, ignore or add.
            class_names: What the numbers of YOLO labels mean, where no file of the source says it.
            class_map: Class name in the source → name to use; "" leaves its boxes out.
            labels_for: A version whose pictures get the annotations of the source; no pictures come in.
            on_worker: True when the source is a path on the worker's machine.
            dry_run: True makes only the report.
            options: What to ask for beside the inputs.
            progress: Called with the bytes uploaded so far.

        Raises:
            InvalidError: The source is not there.
        """
        request = pb.ImportDatasetRequest(
            project=self._project,
            to=to,
            source=self._source(str(source), on_worker=on_worker, progress=progress),
            format=pb.ANNOTATION_FORMAT_UNSPECIFIED
            if format == "auto"
            else pb.AnnotationFormat.Value(f"ANNOTATION_FORMAT_{format.upper()}"),
            unknown_classes=pb.UnknownClasses.Value(f"UNKNOWN_CLASSES_{unknown_classes.upper()}"),
            class_names=class_names,
            class_map=class_map or {},
            labels_for=labels_for,
            dry_run=dry_run,
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.ImportDatasetResponse = self._connection.call(DatasetServiceStub, "ImportDataset", request)
        return task_of(self._connection, response.task_id, self._made)

    def _source(self, source: str, *, on_worker: bool, progress: Callable[[int], None] | None) -> pb.ImportSource:
        if on_worker:
            return pb.ImportSource(server_path=source)
        if is_address(source):
            return pb.ImportSource(url=source)
        path = Path(source)
        with archive_of(path) as archive:
            blob = self._connection.hash_file(archive)
            self._connection.upload(self._project, [blob], progress=progress)
        return pb.ImportSource(blob_digest=blob.digest, name=source_name(path))

    def generate(
        self,
        *,
        to: str,
        count: int,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        options: TaskOptions | None = None,
    ) -> Task[DatasetVersion]:
        """Makes a version of made pictures, to try things on."""
        request = pb.GenerateDatasetRequest(
            project=self._project,
            to=to,
            count=count,
            seed=seed,
            settings_yaml=settings_yaml(settings),
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.GenerateDatasetResponse = self._connection.call(DatasetServiceStub, "GenerateDataset", request)
        return task_of(self._connection, response.task_id, self._made)

    def report(self, *, task_id: str = "", version: str = "") -> pb.GetImportReportResponse:
        """Returns what an import did with every file, by its task or its version."""
        request = pb.GetImportReportRequest(project=self._project, version=version, task_id=task_id)
        response: pb.GetImportReportResponse = self._connection.call(DatasetServiceStub, "GetImportReport", request)
        return response

    def get(self, name: str) -> DatasetVersion:
        """Returns a version: ``name@3``, ``name`` for the newest that is ready, or an id. Raises NotFoundError."""
        return version_named(self._connection, self._project, name)

    def list(self, *, hidden: bool = False) -> Iterator[pb.Dataset]:
        """Yields the datasets with their newest versions, sorted by name."""
        request = pb.ListDatasetsRequest(project=self._project, include_hidden=hidden)
        for dataset in pages(self._connection, DatasetServiceStub, "ListDatasets", request, items="datasets"):
            yield dataset

    def history(self, name: str) -> Iterator[DatasetVersion]:
        """Yields all versions of a dataset, newest first."""
        request = pb.ListVersionsRequest(project=self._project, dataset=name)
        for version in pages(self._connection, DatasetServiceStub, "ListVersions", request, items="versions"):
            yield DatasetVersion(self._connection, self._project, version)

    def prediction_sets(self, name: str) -> Iterator[pb.PredictionSet]:
        """Yields the prediction sets of a version, newest first."""
        request = pb.ListPredictionSetsRequest(project=self._project, dataset=name)
        for prediction_set in pages(
            self._connection, DatasetServiceStub, "ListPredictionSets", request, items="prediction_sets"
        ):
            yield prediction_set

    def copy(self, source: str, *, from_project: str, to: str = "") -> DatasetVersion:
        """Copies a version of another project into this one, at no cost."""
        request = pb.CopyDatasetRequest(
            project=self._project, source_project=from_project, dataset=source, to=to, request_id=new_request_id()
        )
        response: pb.CopyDatasetResponse = self._connection.call(DatasetServiceStub, "CopyDataset", request)
        return DatasetVersion(self._connection, self._project, response.version)

    def rename(self, name: str, new_name: str) -> pb.Dataset:
        """Gives a dataset another name. Raises ExistsError."""
        request = pb.RenameDatasetRequest(
            project=self._project, dataset=name, name=new_name, request_id=new_request_id()
        )
        response: pb.RenameDatasetResponse = self._connection.call(DatasetServiceStub, "RenameDataset", request)
        return response.dataset

    def delete(self, name: str) -> None:
        """Deletes a version (``name@3``) or a dataset with all of its versions (``name``)."""
        request = pb.DeleteDatasetRequest(project=self._project, dataset=name, request_id=new_request_id())
        self._connection.call(DatasetServiceStub, "DeleteDataset", request)

    def _made(self, task: TaskData) -> DatasetVersion:
        return self.get(task.result.id)
