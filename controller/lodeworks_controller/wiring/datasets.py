"""The part of the controller that keeps projects, classes and datasets, put together by hand."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from lodeworks.api.dataset.v1 import curation_pb2_grpc, dataset_pb2_grpc
from lodeworks.api.object_class.v1 import object_class_pb2_grpc
from lodeworks.api.project.v1 import project_pb2_grpc

from lodeworks_controller.background.releaser import start_releaser
from lodeworks_controller.background.roles import Roles
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.curation import CurationService
from lodeworks_controller.service.dataset_arrival import DatasetArrival
from lodeworks_controller.service.dataset_measuring import DatasetMeasuring
from lodeworks_controller.service.dataset_operations import DatasetOperations
from lodeworks_controller.service.dataset_release import DatasetRelease
from lodeworks_controller.service.dataset_service import DatasetService
from lodeworks_controller.service.dataset_sharing import DatasetSharing
from lodeworks_controller.service.dataset_tasks import DatasetTasks
from lodeworks_controller.service.kinds.analyze import AnalyzeKind
from lodeworks_controller.service.kinds.base import Kind
from lodeworks_controller.service.kinds.export import ExportKind
from lodeworks_controller.service.kinds.generate import GenerateKind
from lodeworks_controller.service.kinds.ingest import ImportKind, LabelsKind
from lodeworks_controller.service.kinds.signals import SignalsKind
from lodeworks_controller.service.kinds.thumbnails import ThumbnailsKind
from lodeworks_controller.service.mining import MiningService
from lodeworks_controller.service.object_class import ClassService
from lodeworks_controller.service.prediction_set import PredictionSetService
from lodeworks_controller.service.project_service import ProjectService
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.task import TaskService
from lodeworks_controller.service.thumbnail import ThumbnailService
from lodeworks_controller.service.version_making import VersionMaking
from lodeworks_controller.service.view import ViewService
from lodeworks_controller.storage.segments.curation_engine import CurationEngine
from lodeworks_controller.storage.segments.engine import SegmentEngine
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_controller.storage.segments.workshop import Workshop
from lodeworks_controller.transport.curation import CurationServicer
from lodeworks_controller.transport.dataset import DatasetServicer
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.listeners import Register
from lodeworks_controller.transport.object_class import ClassServicer
from lodeworks_controller.transport.project import ProjectServicer


class DatasetPart:
    """Services, kinds and servicers of projects, classes and datasets.

    Args:
        store: The database.
        blobs: Where content is kept.
        pool: Where heavy work runs.
        scratch: Folder for files in the making, beside the blobs.
        tasks: Makes tasks.
        ids: Names for what is made.
    """

    def __init__(
        self, store: Store, blobs: BlobStore, *, pool: Pool, scratch: Path, tasks: TaskService, ids: Ids
    ) -> None:
        shop = Workshop(blobs, pool, scratch=scratch)
        shop.open()
        self.segments = SegmentEngine(shop)
        self.projects = ProjectService(store, ids=ids)
        self.classes = ClassService(store, ids=ids)
        self.datasets = DatasetService(store, blobs, self.segments)
        self.operations = DatasetOperations(store, blobs, self.segments, ids=ids)
        self.views = ViewService(store, blobs, self.segments)
        self.predictions = PredictionSetService(store, blobs, self.segments, ids=ids)
        self.tasks = DatasetTasks(store, blobs, tasks, ids=ids)
        curated = CurationEngine(shop)
        making = VersionMaking(store, blobs, ids=ids)
        self.curation = CurationService(store, blobs, curated, making=making)
        self.sharing = DatasetSharing(store)
        self.measuring = DatasetMeasuring(store, blobs, tasks, curated=curated, curation=self.curation)
        self.thumbnails = ThumbnailService(store, blobs, tasks, segments=self.segments, curated=curated)
        self.release = DatasetRelease(store, blobs, curated)
        self._measuring_kinds: Sequence[Kind] = (
            SignalsKind(store, blobs=blobs, segments=self.segments, curated=curated, curation=self.curation),
            AnalyzeKind(store, blobs=blobs, views=self.views, curated=curated, curation=self.curation),
            ThumbnailsKind(store, blobs=blobs, segments=self.segments, thumbnails=self.thumbnails),
        )
        self._arrival = DatasetArrival(store, blobs, self.segments, predictions=self.predictions, ids=ids)
        self._blobs = blobs

    def kinds(self) -> Sequence[Kind]:
        """Returns the kinds of tasks that make versions and archives."""
        return (
            ImportKind(self._arrival, self._blobs),
            LabelsKind(self._arrival, self._blobs, self.views),
            GenerateKind(self._arrival, self._blobs),
            ExportKind(self.views, self._blobs),
            *self._measuring_kinds,
        )

    @asynccontextmanager
    async def running(self, roles: Roles, *, clockwork: Callable[[], Ticks] = Ticks) -> AsyncIterator[None]:
        """Runs the background role."""
        ticks = clockwork()
        start_releaser(self.release, role=roles.role("releaser"), ticks=ticks)
        ticks.start()
        try:
            yield
        finally:
            ticks.stop()

    def for_people(self, *, mining: MiningService, gate: Gate) -> Sequence[Register]:
        """Returns what people may call."""
        projects = ProjectServicer(self.projects, gate=gate)
        classes = ClassServicer(self.classes, gate=gate)
        datasets = self.servicer(mining=mining, gate=gate)
        curation = CurationServicer(
            self.curation, self.sharing, measuring=self.measuring, thumbnails=self.thumbnails, gate=gate
        )
        return [
            lambda server: curation_pb2_grpc.add_CurationServiceServicer_to_server(curation, server),
            lambda server: project_pb2_grpc.add_ProjectServiceServicer_to_server(projects, server),
            lambda server: object_class_pb2_grpc.add_ClassServiceServicer_to_server(classes, server),
            lambda server: dataset_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, server),
        ]

    def servicer(self, *, mining: MiningService, gate: Gate) -> DatasetServicer:
        """Returns what serves datasets, to those whom the gate lets in."""
        return DatasetServicer(
            self.datasets,
            self.operations,
            tasks=self.tasks,
            predictions=self.predictions,
            mining=mining,
            gate=gate,
        )
