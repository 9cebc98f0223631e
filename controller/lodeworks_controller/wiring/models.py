"""Models, evaluations, executors, algorithms and devices put together by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lodeworks.agent.device.v1 import device_pb2_grpc as device_agent_grpc
from lodeworks.agent.device.v1 import enrollment_pb2_grpc as device_enrolment_grpc
from lodeworks.api.algorithm.v1 import algorithm_pb2_grpc
from lodeworks.api.device.v1 import device_pb2_grpc
from lodeworks.api.evaluation.v1 import evaluation_pb2_grpc
from lodeworks.api.executor.v1 import executor_pb2_grpc
from lodeworks.api.model.v1 import model_pb2_grpc

from lodeworks_controller.adapters.installed_executors import shipped_executors
from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.service.adoption import AdoptionService
from lodeworks_controller.service.algorithm import AlgorithmService, ReleaseSigner
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.deployment import DeploymentService, DesiredStates
from lodeworks_controller.service.device import DeviceService
from lodeworks_controller.service.device_sync import DeviceSyncService
from lodeworks_controller.service.enrolment import EnrolmentService
from lodeworks_controller.service.evaluation import EvaluationService
from lodeworks_controller.service.executor import ExecutorService
from lodeworks_controller.service.executor_registry import ExecutorRegistry
from lodeworks_controller.service.images import ImageService
from lodeworks_controller.service.kinds.adopt import AdoptKind
from lodeworks_controller.service.kinds.base import Kind
from lodeworks_controller.service.kinds.check import CheckKind
from lodeworks_controller.service.kinds.convert import ConvertKind
from lodeworks_controller.service.kinds.evaluate import EvaluateKind
from lodeworks_controller.service.kinds.infer import InferKind
from lodeworks_controller.service.kinds.mine import MineKind
from lodeworks_controller.service.kinds.pull import PullKind
from lodeworks_controller.service.kinds.stages import StageIntake
from lodeworks_controller.service.kinds.train import TrainKind
from lodeworks_controller.service.measuring import MeasuringService
from lodeworks_controller.service.mining import MiningService
from lodeworks_controller.service.model import ModelService
from lodeworks_controller.service.package import PackageIntake
from lodeworks_controller.service.prediction_set import PredictionSetService
from lodeworks_controller.service.publishing import PublishingService
from lodeworks_controller.service.segments import Segments
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.task import TaskService
from lodeworks_controller.service.training import TrainingService
from lodeworks_controller.service.view import ViewService
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.transport.algorithm import AlgorithmServicer
from lodeworks_controller.transport.device import DeviceServicer, DeviceServices
from lodeworks_controller.transport.device_agent import DeviceAgentServicer
from lodeworks_controller.transport.enrolment import DeviceEnrolmentServicer
from lodeworks_controller.transport.evaluation import EvaluationServicer
from lodeworks_controller.transport.executor import ExecutorServicer, ExecutorServices
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.listeners import Register
from lodeworks_controller.transport.model import ModelServicer, ModelServices
from lodeworks_controller.transport.places import Places
from lodeworks_controller.trust.installation import Trust


@dataclass(frozen=True, slots=True)
class ModelGround:
    """What this part stands on."""

    store: Store
    blobs: BlobStore
    trust: Trust
    wakes: Wakes
    terms: LeaseTerms
    clock: Clock
    ids: Ids
    tasks: TaskService
    enrolment: EnrolmentService
    content: ContentService
    segments: Segments
    views: ViewService
    predictions: PredictionSetService
    workspace: Path


class ModelPart:
    """The services from training to device, the kinds of their tasks, and what is served of them."""

    def __init__(self, ground: ModelGround) -> None:
        store, tasks, ids = ground.store, ground.tasks, ground.ids
        self._ground = ground
        ground.workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.executors = ExecutorService(
            store, shipped=shipped_executors(created_at=ground.clock()), terms=ground.terms
        )
        self.registry = ExecutorRegistry(store, executors=self.executors, ids=ids)
        self.images = ImageService(
            store, blobs=ground.blobs, tasks=tasks, executors=self.executors, registry=self.registry
        )
        self.models = ModelService(store)
        self.training = TrainingService(store, tasks=tasks, executors=self.executors, ids=ids)
        self.adoption = AdoptionService(store, blobs=ground.blobs, tasks=tasks, ids=ids)
        self.mining = MiningService(store, tasks=tasks, executors=self.executors, ids=ids)
        self.measuring = MeasuringService(store, tasks=tasks, executors=self.executors, ids=ids)
        self.publishing = PublishingService(store, tasks=tasks, ids=ids)
        self.evaluations = EvaluationService(store, ground.blobs)
        self._signer = ReleaseSigner(ground.trust.repository, ground.blobs)
        self._intake = PackageIntake(ground.blobs, workspace=ground.workspace)
        self.algorithms = AlgorithmService(store, signer=self._signer, intake=self._intake, ids=ids)
        states = DesiredStates(ground.trust.desired_state, wakes=ground.wakes)
        self.devices = DeviceService(store, enrolment=ground.enrolment, wakes=ground.wakes, ids=ids)
        self.deployments = DeploymentService(store, states=states)
        self.device_sync = DeviceSyncService(store, states=states, wakes=ground.wakes)

    def kinds(self) -> Sequence[Kind]:
        """Returns the kinds of task."""
        ground = self._ground
        store, blobs, views = ground.store, ground.blobs, ground.views
        stages = StageIntake(blobs)
        return (
            TrainKind(store, intake=stages, views=views),
            AdoptKind(store, blobs=blobs, intake=stages),
            MineKind(store, blobs=blobs, views=views, segments=ground.segments),
            InferKind(store, blobs=blobs, views=views, predictions=ground.predictions),
            EvaluateKind(store, blobs=blobs, views=views),
            ConvertKind(store, blobs=blobs, views=views, intake=self._intake, signer=self._signer),
            PullKind(store, blobs=blobs, registry=self.registry, ids=ground.ids),
            CheckKind(blobs),
        )

    def for_people(self, gate: Gate, *, agents_address: str) -> Sequence[Register]:
        """Returns what people and enrolling devices may call."""
        trust = self._ground.trust
        model = self.servicer(gate)
        evaluation = EvaluationServicer(self.evaluations, caller=gate.caller)
        algorithm = AlgorithmServicer(self.algorithms, caller=gate.caller)
        executor = ExecutorServicer(ExecutorServices(self.executors, self.registry, self.images), caller=gate.caller)
        device = DeviceServicer(
            DeviceServices(self.devices, self.deployments),
            caller=gate.caller,
            ca_fingerprint=trust.authority.fingerprint,
        )
        enrolment = DeviceEnrolmentServicer(
            self._ground.enrolment, agents_address=agents_address, trusted_root=trust.repository.trusted_root
        )
        return [
            lambda server: model_pb2_grpc.add_ModelServiceServicer_to_server(model, server),
            lambda server: evaluation_pb2_grpc.add_EvaluationServiceServicer_to_server(evaluation, server),
            lambda server: algorithm_pb2_grpc.add_AlgorithmServiceServicer_to_server(algorithm, server),
            lambda server: executor_pb2_grpc.add_ExecutorServiceServicer_to_server(executor, server),
            lambda server: device_pb2_grpc.add_DeviceServiceServicer_to_server(device, server),
            lambda server: device_enrolment_grpc.add_EnrollmentServiceServicer_to_server(enrolment, server),
        ]

    def for_agents(self, gate: Gate, *, places: Places) -> Sequence[Register]:
        """Returns what devices may call."""
        devices = DeviceAgentServicer(
            self.device_sync,
            releases=self._ground.trust.repository,
            content=self._ground.content,
            gate=gate,
            places=places,
        )
        return [lambda server: device_agent_grpc.add_DeviceServiceServicer_to_server(devices, server)]

    def servicer(self, gate: Gate) -> ModelServicer:
        """Returns what serves models, to those whom the gate lets in."""
        services = ModelServices(self.models, self.training, self.adoption, self.measuring, self.publishing)
        return ModelServicer(services, caller=gate.caller)
