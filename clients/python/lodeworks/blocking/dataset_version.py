"""One version of a dataset: looked at, and the start of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeworks.api.dataset.v1 import dataset_pb2 as pb
from lodeworks.api.dataset.v1.dataset_pb2_grpc import DatasetServiceStub
from lodeworks.blocking.paging import pages
from lodeworks.blocking.task import Task, done, task_of
from lodeworks.connection import Connection, new_request_id
from lodeworks.contact_sheet import contact_sheet_html
from lodeworks.folder import download_place, unpack, write_file
from lodeworks.options import TaskOptions, to_message
from lodeworks.settings import settings_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lodeworks.api.task.v1.task_pb2 import Task as TaskData


class DatasetVersion:
    """One immutable version of a dataset.

    Args:
        connection: Where it lives.
        project: Id of its project.
        data: What the server says of it.
    """

    def __init__(self, connection: Connection, project: str, data: pb.DatasetVersion) -> None:
        self._connection = connection
        self._project = project
        self.data = data

    @property
    def id(self) -> str:
        """Returns the id."""
        return self.data.id

    @property
    def name(self) -> str:
        """Returns the full name, such as ``cells@3``."""
        return self.data.name

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return self.data.picture_count

    def __repr__(self) -> str:
        """Returns one line for people."""
        return f"<{self.name}: {self.data.picture_count} pictures, {self.data.box_count} boxes>"

    def stats(self, class_names: Sequence[str] = ()) -> pb.DatasetStats:
        """Counts the version by class; all classes unless some are named."""
        request = pb.GetStatsRequest(project=self._project, dataset=self.id, class_names=class_names)
        response: pb.GetStatsResponse = self._connection.call(DatasetServiceStub, "GetStats", request)
        return response.stats

    def pictures(
        self,
        *,
        where: pb.Filter | None = None,
        prediction_set_id: str = "",
        thumbnails: bool = False,
        page_size: int = 200,
    ) -> Iterator[pb.Picture]:
        """Yields the pictures with their boxes, page by page; beside predictions, with what became of each box.

        Args:
            where: Only those that pass.
            prediction_set_id: Predictions to show beside: an id, or the name of a model; empty = those of ``where``.
            thumbnails: True names the thumbnails that ``curation.thumbnails`` made.
            page_size: Pictures per call.
        """
        request = pb.ListPicturesRequest(
            project=self._project,
            dataset=self.id,
            filter=where,
            prediction_set_id=prediction_set_id,
            thumbnails=thumbnails,
            page_size=page_size,
        )
        for picture in pages(self._connection, DatasetServiceStub, "ListPictures", request, items="pictures"):
            yield picture

    def picture_bytes(self, picture: pb.Picture) -> bytes:
        """Returns the file of one picture; for many, export the version."""
        return self._connection.read_blob(self._project, picture.digest)

    def write_thumbnails(self, pictures: Iterable[pb.Picture], folder: Path | str) -> list[Path]:
        """Writes the thumbnails of pictures (``pictures(thumbnails=True)``) into a folder, as ``<digest>.jpg``.

        Pictures that have none are left out.
        """
        written = []
        for picture in pictures:
            if picture.thumbnail_digest:
                data = self._connection.read_blob(self._project, picture.thumbnail_digest)
                written.append(write_file(Path(folder) / f"{picture.digest}.jpg", data))
        return written

    def write_contact_sheet(self, pictures: Sequence[pb.Picture], out: Path | str) -> Path:
        """Writes a page that shows the thumbnails of pictures (``pictures(thumbnails=True)``) with their boxes."""
        small = {
            picture.digest: self._connection.read_blob(self._project, picture.thumbnail_digest)
            for picture in pictures
            if picture.thumbnail_digest
        }
        return write_file(Path(out), contact_sheet_html(self.name, pictures, small).encode())

    def report(self) -> Mapping[str, Any]:
        """Returns the report of the import that made this version."""
        request = pb.GetImportReportRequest(project=self._project, version=self.id)
        response: pb.GetImportReportResponse = self._connection.call(DatasetServiceStub, "GetImportReport", request)
        document: Mapping[str, Any] = json.loads(response.report_json or b"{}")
        return document

    def filter(self, where: pb.Filter, *, to: str = "", dry_run: bool = False) -> Task[DatasetVersion]:
        """Makes a version with the pictures that the condition lets pass."""
        request = pb.FilterDatasetRequest(
            project=self._project, dataset=self.id, filter=where, to=to, dry_run=dry_run, request_id=new_request_id()
        )
        response: pb.FilterDatasetResponse = self._connection.call(DatasetServiceStub, "FilterDataset", request)
        return self._done(response.version)

    def merge(
        self, others: Sequence[DatasetVersion], *, strategy: str = "newest", to: str = ""
    ) -> Task[DatasetVersion]:
        """Makes a version with the pictures of this one and the others.

        Args:
            others: What to add.
            strategy: Who wins where annotations differ: newest, host, guest or stop.
            to: Name of the dataset that gets the version; empty = this one's.
        """
        request = pb.MergeDatasetsRequest(
            project=self._project,
            datasets=[self.id, *(other.id for other in others)],
            strategy=pb.MergeStrategy.Value(f"MERGE_STRATEGY_{strategy.upper()}"),
            to=to,
            request_id=new_request_id(),
        )
        response: pb.MergeDatasetsResponse = self._connection.call(DatasetServiceStub, "MergeDatasets", request)
        return self._done(response.version)

    def exclude(self, without: Sequence[DatasetVersion], *, to: str = "") -> Task[DatasetVersion]:
        """Makes a version without the pictures of others."""
        request = pb.ExcludeDatasetRequest(
            project=self._project,
            dataset=self.id,
            without=[other.id for other in without],
            to=to,
            request_id=new_request_id(),
        )
        response: pb.ExcludeDatasetResponse = self._connection.call(DatasetServiceStub, "ExcludeDataset", request)
        return self._done(response.version)

    def sample(
        self, *, count: int = 0, share: float = 0.0, seed: int = 0, stratified: bool = False, to: str = ""
    ) -> Task[DatasetVersion]:
        """Makes a version with a count or a share (0 to 1) of the pictures, drawn with a seed.

        ``stratified`` gives each class its share, rare classes first.
        """
        request = pb.SampleDatasetRequest(
            project=self._project,
            dataset=self.id,
            count=count,
            share=share,
            seed=seed,
            stratified=stratified,
            to=to,
            request_id=new_request_id(),
        )
        response: pb.SampleDatasetResponse = self._connection.call(DatasetServiceStub, "SampleDataset", request)
        return self._done(response.version)

    def split(
        self, parts: Mapping[str, float], *, seed: int = 0, stratified: bool = True, distance: int | None = None
    ) -> Task[tuple[DatasetVersion, ...]]:
        """Makes several versions that share no picture.

        Args:
            parts: Name of a dataset → its weight; the share is the weight over the sum of all.
            seed: The same seed splits the same way.
            stratified: True gives each class its share in every part, rare classes first.
            distance: Pictures whose perceptual hashes differ in at most so many of 64 bits stay together (3 = nearly
                the same); they must be measured, see ``curation.signals``. None = only identical files.

        Raises:
            ConflictError: SIGNALS_MISSING, while pictures were not measured.
        """
        request = pb.SplitDatasetRequest(
            project=self._project,
            dataset=self.id,
            parts=[pb.SplitPart(to=to, weight=weight) for to, weight in parts.items()],
            seed=seed,
            stratified=stratified,
            distance=distance,
            request_id=new_request_id(),
        )
        response: pb.SplitDatasetResponse = self._connection.call(DatasetServiceStub, "SplitDataset", request)
        made = tuple(DatasetVersion(self._connection, self._project, data) for data in response.versions)
        return done(self._connection, made)

    def mine(
        self,
        *,
        top_k: int,
        model: str = "",
        strategy: str = "",
        to: str = "",
        executor: str = "",
        settings: Mapping[str, Any] | None = None,
        options: TaskOptions | None = None,
    ) -> Task[DatasetVersion]:
        """Chooses the pictures most worth labelling.

        Args:
            top_k: How many.
            model: ``name@3:stage``; empty for strategies that need none.
            strategy: Empty = the executor's default.
            to: Name of the dataset that gets the version.
            executor: Empty = the built-in one.
            settings: Settings of the executor.
            options: What to ask for beside the inputs.
        """
        request = pb.MineDatasetRequest(
            project=self._project,
            dataset=self.id,
            model=model,
            strategy=strategy,
            top_k=top_k,
            to=to,
            executor=executor,
            settings_yaml=settings_yaml(settings),
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.MineDatasetResponse = self._connection.call(DatasetServiceStub, "MineDataset", request)
        return task_of(self._connection, response.task_id, self._made)

    def export(
        self,
        out: Path | str,
        *,
        format: str = "voc",
        with_pictures: bool = True,
        prediction_set_id: str = "",
        options: TaskOptions | None = None,
    ) -> Task[Path]:
        """Writes the version into a zip file, or into a folder when ``out`` is one or ends in a slash.

        Args:
            out: Where to.
            format: ``voc`` (images/, gt/, pred/), ``vocdevkit`` (JPEGImages/, Annotations/), ``coco`` or ``yolo``.
            with_pictures: False writes annotations only.
            prediction_set_id: A prediction set that goes along, with ``voc`` and ``vocdevkit``.
            options: What to ask for beside the inputs.
        """
        request = pb.ExportDatasetRequest(
            project=self._project,
            dataset=self.id,
            format=pb.AnnotationFormat.Value(f"ANNOTATION_FORMAT_{format.upper()}"),
            without_pictures=not with_pictures,
            prediction_set_id=prediction_set_id,
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.ExportDatasetResponse = self._connection.call(DatasetServiceStub, "ExportDataset", request)
        wanted = str(out)

        def fetch(task: TaskData) -> Path:
            digest, _, size_bytes = task.result.id.partition(":")
            archive, folder = download_place(wanted, digest=digest)
            self._connection.download(self._project, digest, archive, size_bytes=int(size_bytes))
            if folder is None:
                return archive
            unpack(archive, folder)
            return folder

        return task_of(self._connection, response.task_id, fetch)

    def _made(self, task: TaskData) -> DatasetVersion:
        return version_named(self._connection, self._project, task.result.id)

    def _done(self, data: pb.DatasetVersion) -> Task[DatasetVersion]:
        return done(self._connection, DatasetVersion(self._connection, self._project, data))


def version_named(connection: Connection, project: str, name: str) -> DatasetVersion:
    """Returns a version: ``name@3``, ``name`` for the newest that is ready, or an id. Raises NotFoundError."""
    response: pb.GetDatasetResponse = connection.call(
        DatasetServiceStub, "GetDataset", pb.GetDatasetRequest(project=project, dataset=name)
    )
    return DatasetVersion(connection, project, response.version)
