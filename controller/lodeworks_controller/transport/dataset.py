"""Datasets, their versions and pictures."""

import json
from typing import Any, Final

import grpc.aio
from lodeworks.api.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.protocol import parse_config

from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.operation import Sample, Split
from lodeworks_controller.domain.report import counts_of, rejections_of
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.dataset import VersionSight
from lodeworks_controller.service.dataset_operations import DatasetOperations
from lodeworks_controller.service.dataset_service import DatasetService
from lodeworks_controller.service.dataset_tasks import DatasetTasks
from lodeworks_controller.service.import_wish import ImportSource, ImportWish
from lodeworks_controller.service.mining import MineWish, MiningService
from lodeworks_controller.service.prediction_set import PredictionSetService
from lodeworks_controller.transport.dataset_messages import (
    conflict_of,
    filter_of,
    format_of,
    query_of,
    to_counts,
    to_dataset,
    to_pictures,
    to_prediction_set,
    to_rejections,
    to_stats,
    to_version,
    unknown_classes_of,
)
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.task_options import to_options
from lodeworks_controller.transport.wire import page_size

Context = grpc.aio.ServicerContext[Any, Any]

_REJECTIONS_SHOWN: Final = 1_000
_REPORT_BYTES: Final = 4_000_000  # of a message, which may have 4 MiB
_QUERY_CHARACTERS: Final = 12


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Serves ``lodeworks.api.dataset.v1.DatasetService``."""

    def __init__(
        self,
        datasets: DatasetService,
        operations: DatasetOperations,
        *,
        tasks: DatasetTasks,
        predictions: PredictionSetService,
        mining: MiningService,
        gate: Gate,
    ) -> None:
        self._datasets = datasets
        self._operations = operations
        self._tasks = tasks
        self._predictions = predictions
        self._mining = mining
        self._gate = gate

    async def ImportDataset(
        self, request: dataset_pb2.ImportDatasetRequest, context: Context
    ) -> dataset_pb2.ImportDatasetResponse:
        """Starts an import."""
        source = request.source
        if not request.to and not request.dry_run and not request.labels_for:
            raise InvalidError("NAME_INVALID", "name the dataset that gets the version", field="to")
        started = await self._tasks.import_source(
            await self._gate.caller(context),
            request.project,
            source=ImportSource(source.blob_digest, source.name, url=source.url, path=source.server_path),
            to=request.to,
            wish=ImportWish(
                format=format_of(request.format, default="auto"),
                unknown_classes=unknown_classes_of(request.unknown_classes),
                class_names=tuple(request.class_names),
                class_map=dict(request.class_map),
                labels_for=request.labels_for,
                dry_run=request.dry_run,
            ),
            options=to_options(request.task_options),
            request_id=request.request_id,
        )
        version = None if started.version is None else to_version(started.version)
        return dataset_pb2.ImportDatasetResponse(task_id=started.task_id, version=version)

    async def GenerateDataset(
        self, request: dataset_pb2.GenerateDatasetRequest, context: Context
    ) -> dataset_pb2.GenerateDatasetResponse:
        """Starts to make pictures."""
        try:
            settings = parse_config(request.settings_yaml) if request.settings_yaml.strip() else {}
        except FormatError as error:
            raise InvalidError("SETTING_INVALID", error.message, field="settings_yaml") from error
        started = await self._tasks.generate(
            await self._gate.caller(context),
            request.project,
            to=request.to,
            count=request.count,
            seed=request.seed,
            settings=settings,
            options=to_options(request.task_options),
            request_id=request.request_id,
        )
        version = None if started.version is None else to_version(started.version)
        return dataset_pb2.GenerateDatasetResponse(task_id=started.task_id, version=version)

    async def GetImportReport(
        self, request: dataset_pb2.GetImportReportRequest, context: Context
    ) -> dataset_pb2.GetImportReportResponse:
        """Shows what an import did with every file."""
        caller = await self._gate.caller(context)
        _, data = await self._datasets.report(caller, request.project, version=request.version, task_id=request.task_id)
        report = json.loads(data)
        found = rejections_of(report, limit=_REJECTIONS_SHOWN)
        return dataset_pb2.GetImportReportResponse(
            report_json=data,
            counts=to_counts(counts_of(report)),
            rejections=to_rejections(found, room_bytes=_REPORT_BYTES - len(data)),
        )

    async def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: Context
    ) -> dataset_pb2.ListDatasetsResponse:
        """Lists the datasets of a project."""
        limit = page_size(request.page_size)
        found = await self._datasets.list(
            await self._gate.caller(context),
            request.project,
            after_name=request.page_token,
            limit=limit + 1,
            include_hidden=request.include_hidden,
        )
        more = found[limit - 1].dataset.name if len(found) > limit else ""
        return dataset_pb2.ListDatasetsResponse(datasets=map(to_dataset, found[:limit]), next_page_token=more)

    async def GetDataset(
        self, request: dataset_pb2.GetDatasetRequest, context: Context
    ) -> dataset_pb2.GetDatasetResponse:
        """Shows one version of a dataset."""
        caller = await self._gate.caller(context)
        dataset, version = await self._datasets.get(caller, request.project, request.dataset)
        return dataset_pb2.GetDatasetResponse(dataset=to_dataset(dataset), version=to_version(version))

    async def ListVersions(
        self, request: dataset_pb2.ListVersionsRequest, context: Context
    ) -> dataset_pb2.ListVersionsResponse:
        """Lists all versions of a dataset."""
        limit = page_size(request.page_size)
        found = await self._datasets.versions(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            before_number=_number(request.page_token),
            limit=limit + 1,
        )
        more = str(found[limit - 1].version.number) if len(found) > limit else ""
        return dataset_pb2.ListVersionsResponse(versions=map(to_version, found[:limit]), next_page_token=more)

    async def FilterDataset(
        self, request: dataset_pb2.FilterDatasetRequest, context: Context
    ) -> dataset_pb2.FilterDatasetResponse:
        """Makes a version with the pictures that a condition lets pass."""
        sight = await self._operations.filter(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            which=filter_of(request.filter),
            to=request.to,
            dry_run=request.dry_run,
            request_id=request.request_id,
        )
        return dataset_pb2.FilterDatasetResponse(version=to_version(sight))

    async def MergeDatasets(
        self, request: dataset_pb2.MergeDatasetsRequest, context: Context
    ) -> dataset_pb2.MergeDatasetsResponse:
        """Makes a version with the pictures of several."""
        sight = await self._operations.merge(
            await self._gate.caller(context),
            request.project,
            tuple(request.datasets),
            conflict=conflict_of(request.strategy),
            to=request.to,
            request_id=request.request_id,
        )
        return dataset_pb2.MergeDatasetsResponse(version=to_version(sight))

    async def ExcludeDataset(
        self, request: dataset_pb2.ExcludeDatasetRequest, context: Context
    ) -> dataset_pb2.ExcludeDatasetResponse:
        """Makes a version without the pictures of others."""
        sight = await self._operations.exclude(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            without=tuple(request.without),
            to=request.to,
            request_id=request.request_id,
        )
        return dataset_pb2.ExcludeDatasetResponse(version=to_version(sight))

    async def SampleDataset(
        self, request: dataset_pb2.SampleDatasetRequest, context: Context
    ) -> dataset_pb2.SampleDatasetResponse:
        """Makes a version with some pictures drawn at random."""
        sight = await self._operations.sample(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            sample=Sample(count=request.count or None, share=request.share or None),
            seed=request.seed,
            stratified=request.stratified,
            to=request.to,
            request_id=request.request_id,
        )
        return dataset_pb2.SampleDatasetResponse(version=to_version(sight))

    async def SplitDataset(
        self, request: dataset_pb2.SplitDatasetRequest, context: Context
    ) -> dataset_pb2.SplitDatasetResponse:
        """Makes several versions that share no picture."""
        shares = {part.to: part.weight for part in request.parts}
        if len(shares) != len(request.parts):
            raise InvalidError("SPLIT_INVALID", "two parts have the same name; name each part once", field="parts")
        sights = await self._operations.split(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            split=Split(shares, request.stratified, request.distance if request.HasField("distance") else None),
            seed=request.seed,
            request_id=request.request_id,
        )
        return dataset_pb2.SplitDatasetResponse(versions=map(to_version, sights))

    async def CopyDataset(
        self, request: dataset_pb2.CopyDatasetRequest, context: Context
    ) -> dataset_pb2.CopyDatasetResponse:
        """Copies a version into this project."""
        sight = await self._operations.copy(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            source_project=request.source_project,
            to=request.to,
            request_id=request.request_id,
        )
        return dataset_pb2.CopyDatasetResponse(version=to_version(sight))

    async def MineDataset(
        self, request: dataset_pb2.MineDatasetRequest, context: Context
    ) -> dataset_pb2.MineDatasetResponse:
        """Starts to choose the pictures most worth labelling."""
        wish = MineWish(
            dataset=request.dataset,
            top_k=request.top_k,
            model=request.model,
            strategy=request.strategy,
            to=request.to,
            executor=request.executor,
            settings_yaml=request.settings_yaml,
            options=to_options(request.task_options),
        )
        caller = await self._gate.caller(context)
        version = await self._mining.mine(caller, request.project, wish, request_id=request.request_id)
        sight = to_version(VersionSight(version))
        return dataset_pb2.MineDatasetResponse(task_id=version.task_id or "", version=sight)

    async def ExportDataset(
        self, request: dataset_pb2.ExportDatasetRequest, context: Context
    ) -> dataset_pb2.ExportDatasetResponse:
        """Starts to write a version into an archive."""
        started = await self._tasks.export(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            format=format_of(request.format, default="voc"),
            pictures=not request.without_pictures,
            prediction_set_id=request.prediction_set_id,
            options=to_options(request.task_options),
            request_id=request.request_id,
        )
        return dataset_pb2.ExportDatasetResponse(task_id=started.task_id)

    async def GetStats(self, request: dataset_pb2.GetStatsRequest, context: Context) -> dataset_pb2.GetStatsResponse:
        """Counts a version by class."""
        caller = await self._gate.caller(context)
        selection = ClassSelection(tuple(request.class_names) or None)
        figures = await self._datasets.stats(caller, request.project, request.dataset, selection=selection)
        return dataset_pb2.GetStatsResponse(stats=to_stats(figures))

    async def ListPictures(
        self, request: dataset_pb2.ListPicturesRequest, context: Context
    ) -> dataset_pb2.ListPicturesResponse:
        """Pages through the pictures of a version."""
        query = sha256_hex(query_of(request).encode())[:_QUERY_CHARACTERS]
        page = await self._datasets.page(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            which=filter_of(request.filter) if request.HasField("filter") else None,
            prediction_set_id=request.prediction_set_id,
            after_aid=_place(request.page_token, query),
            limit=page_size(request.page_size),
            thumbnails=request.thumbnails,
        )
        more = "" if page.after_aid is None else f"{query}-{page.after_aid}"
        return dataset_pb2.ListPicturesResponse(pictures=to_pictures(page), next_page_token=more)

    async def RenameDataset(
        self, request: dataset_pb2.RenameDatasetRequest, context: Context
    ) -> dataset_pb2.RenameDatasetResponse:
        """Gives a dataset another name."""
        caller = await self._gate.caller(context)
        sight = await self._datasets.rename(
            caller, request.project, request.dataset, request.name, request_id=request.request_id
        )
        return dataset_pb2.RenameDatasetResponse(dataset=to_dataset(sight))

    async def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: Context
    ) -> dataset_pb2.DeleteDatasetResponse:
        """Deletes a version, or a dataset with all of its versions."""
        caller = await self._gate.caller(context)
        await self._datasets.delete(caller, request.project, request.dataset, request_id=request.request_id)
        return dataset_pb2.DeleteDatasetResponse()

    async def ListPredictionSets(
        self, request: dataset_pb2.ListPredictionSetsRequest, context: Context
    ) -> dataset_pb2.ListPredictionSetsResponse:
        """Lists the prediction sets of a version."""
        limit = page_size(request.page_size)
        found = await self._predictions.list(
            await self._gate.caller(context),
            request.project,
            request.dataset,
            before_id=request.page_token,
            limit=limit + 1,
        )
        more = found[limit - 1].id if len(found) > limit else ""
        return dataset_pb2.ListPredictionSetsResponse(
            prediction_sets=map(to_prediction_set, found[:limit]), next_page_token=more
        )


def _number(token: str) -> int | None:
    if not token:
        return None
    if not token.isdigit():
        raise InvalidError("PAGE_TOKEN", "the page token is not one of this list; begin again", field="page_token")
    return int(token)


def _place(token: str, query: str) -> int:
    """Returns the aid behind which a page begins; a token of another query is refused."""
    if not token:
        return 0
    asked, _, aid = token.partition("-")
    if asked != query or not aid.isdigit():
        raise InvalidError("PAGE_TOKEN", "the page token is of another query; begin again", field="page_token")
    return int(aid)
