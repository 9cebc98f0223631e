"""Models, their versions and stages."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lodeworks.api.model.v1 import model_pb2 as pb
from lodeworks.api.model.v1.model_pb2_grpc import ModelServiceStub
from lodeworks.blocking.algorithm import Algorithms, Release
from lodeworks.blocking.dataset_version import DatasetVersion
from lodeworks.blocking.evaluation import Evaluation, Evaluations
from lodeworks.blocking.paging import pages
from lodeworks.blocking.task import Task, task_of
from lodeworks.connection import Connection, new_request_id
from lodeworks.errors import InvalidError, LodeError, NotFoundError
from lodeworks.options import TaskOptions, to_message
from lodeworks.settings import settings_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lodeworks.api.task.v1.task_pb2 import ObjectRef
    from lodeworks.api.task.v1.task_pb2 import Task as TaskData


class ModelVersion:
    """One training's outcome, or one stage of it.

    Args:
        connection: Where it lives.
        project: Id of its project.
        data: What the server says of it.
        stage: Name of the stage that is meant; empty = the recommended one.
    """

    def __init__(self, connection: Connection, project: str, data: pb.ModelVersion, *, stage: str = "") -> None:
        self._connection = connection
        self._project = project
        self._stage = stage
        self.data = data

    @property
    def id(self) -> str:
        """Returns the id."""
        return self.data.id

    @property
    def name(self) -> str:
        """Returns the full name, such as ``cells@3`` or ``cells@3:epoch_10``."""
        return f"{self.data.name}:{self._stage}" if self._stage else self.data.name

    def __repr__(self) -> str:
        """Returns one line for people."""
        return f"<{self.name}: mAP50 {self.data.map50:.3f}>"

    def infer(
        self,
        *,
        on: DatasetVersion,
        variant: str = "",
        algorithm: str = "",
        executor: str = "",
        settings: Mapping[str, Any] | None = None,
        options: TaskOptions | None = None,
    ) -> Task[ObjectRef]:
        """Predicts on a dataset; the result is a reference to the prediction set.

        Args:
            on: The dataset version.
            variant: Package variant of the release, such as openvino-int8; empty = the stage's ONNX.
            algorithm: The release that is meant by variant, ``name@2``.
            executor: Empty = the one associated with who trained the model, else the built-in one.
            settings: Settings of the executor.
            options: What to ask for beside the inputs.
        """
        request = pb.InferModelRequest(
            project=self._project,
            model=self.name,
            dataset=on.id,
            variant=variant,
            algorithm=algorithm,
            executor=executor,
            settings_yaml=settings_yaml(settings),
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.InferModelResponse = self._connection.call(ModelServiceStub, "InferModel", request)

        def made(task: TaskData) -> ObjectRef:
            return task.result

        return task_of(self._connection, response.task_id, made)

    def evaluate(
        self,
        *,
        on: DatasetVersion,
        variant: str = "",
        algorithm: str = "",
        protocol: str = "coco",
        options: TaskOptions | None = None,
    ) -> Task[Evaluation]:
        """Measures on a dataset; infers first unless the predictions are there.

        Args:
            on: The dataset version.
            variant: Package variant of the release, such as openvino-int8; empty = the stage's ONNX.
            algorithm: The release that is meant by variant, ``name@2``.
            protocol: coco or ymir.
            options: What to ask for beside the inputs.
        """
        request = pb.EvaluateModelRequest(
            project=self._project,
            model=self.name,
            dataset=on.id,
            variant=variant,
            algorithm=algorithm,
            protocol=protocol,
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.EvaluateModelResponse = self._connection.call(ModelServiceStub, "EvaluateModel", request)

        def made(task: TaskData) -> Evaluation:
            return Evaluations(self._connection, self._project).get(task.result.id)

        return task_of(self._connection, response.task_id, made)

    def publish(
        self,
        *,
        calibrate: DatasetVersion,
        guard: DatasetVersion,
        name: str = "",
        targets: Sequence[str] = (),
        precisions: Sequence[str] = (),
        max_drop: float = 0.01,
        sign: bool = True,
        settings: Mapping[str, Any] | None = None,
        options: TaskOptions | None = None,
    ) -> Task[Release]:
        """Converts, quantizes and measures for the targets; the result is a release.

        Args:
            calibrate: Pictures to calibrate on.
            guard: Pictures on which accuracy must hold.
            name: Name of the algorithm; empty = the model's.
            targets: onnx, openvino, tensorrt; empty = onnx and openvino.
            precisions: fp32, fp16, int8; empty = fp32 and int8.
            max_drop: Largest loss of mAP50:95 allowed, absolute.
            sign: False leaves a candidate, to be signed later.
            settings: Settings of the converters.
            options: What to ask for beside the inputs.
        """
        request = pb.PublishModelRequest(
            project=self._project,
            model=self.name,
            name=name,
            targets=targets,
            precisions=precisions,
            calibrate=calibrate.id,
            guard=guard.id,
            max_drop=max_drop,
            sign=sign,
            settings_yaml=settings_yaml(settings),
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.PublishModelResponse = self._connection.call(ModelServiceStub, "PublishModel", request)

        def made(task: TaskData) -> Release:
            return Algorithms(self._connection, self._project).get(task.result.id)

        return task_of(self._connection, response.task_id, made)

    def files(self) -> list[pb.ModelFile]:
        """Returns what the training left beside its stages: attachments and TensorBoard event files, by path."""
        request = pb.ListModelFilesRequest(project=self._project, model=self.data.id)
        response: pb.ListModelFilesResponse = self._connection.call(ModelServiceStub, "ListModelFiles", request)
        return list(response.files)

    def download_files(self, folder: Path | str) -> list[Path]:
        """Fetches what the training left beside its stages into a folder."""
        paths = []
        for file in self.files():
            if ".." in PurePosixPath(file.path).parts or file.path.startswith("/"):
                raise LodeError(f"{file.path!r} would lie outside of {folder}", reason="PATH_UNSAFE")
            path = Path(folder) / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection.download(self._project, file.digest, path, size_bytes=file.size_bytes)
            paths.append(path)
        return paths

    def download(self, folder: Path | str) -> list[Path]:
        """Fetches the files of the stage into a folder."""
        wanted = self._stage or self.data.recommended_stage
        for stage in self.data.stages:
            if stage.name == wanted:
                paths = []
                for file in stage.files:
                    path = Path(folder) / file.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._connection.download(self._project, file.digest, path, size_bytes=file.size_bytes)
                    paths.append(path)
                return paths
        known = ", ".join(stage.name for stage in self.data.stages) or "none"
        raise NotFoundError(f"{self.data.name} has no stage {wanted!r} (there are: {known})", reason="STAGE_NOT_FOUND")


class Models:
    """The models of a project.

    Args:
        connection: Where they live.
        project: Name or id of the project.
    """

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def train(
        self,
        *,
        train: DatasetVersion,
        val: DatasetVersion,
        classes: Sequence[str] = (),
        name: str = "",
        executor: str = "",
        from_stage: str = "",
        gpus: int = 0,
        longest_side_px: int = 0,
        settings: Mapping[str, Any] | None = None,
        options: TaskOptions | None = None,
    ) -> Task[ModelVersion]:
        """Trains a version.

        Args:
            train: What to train on.
            val: What to validate on.
            classes: What to learn, in order; empty = the whole map.
            name: Name of the model; empty = the project's.
            executor: Empty = the detector.
            from_stage: ``name@3:stage`` to start from.
            gpus: Number of GPUs.
            longest_side_px: Pictures are scaled down to this longest side; 0 = as they are.
            settings: Settings of the executor.
            options: What to ask for beside the inputs.
        """
        request = self._training(train, val, classes=classes, name=name, executor=executor, settings=settings)
        request.from_stage, request.gpus, request.longest_side_px = from_stage, gpus, longest_side_px
        asked = to_message(options)
        if asked is not None:
            request.task_options.CopyFrom(asked)
        response: pb.TrainModelResponse = self._connection.call(ModelServiceStub, "TrainModel", request)
        return task_of(self._connection, response.task_id, self._made)

    def import_from(
        self,
        file: Path | str,
        *,
        name: str = "",
        decoder: str = "",
        classes: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        options: TaskOptions | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Task[ModelVersion]:
        """Imports a model that was trained elsewhere; a worker proves that it runs as it is described.

        Args:
            file: An ONNX file or a YMIR model package (.tar, .tar.gz); it is uploaded first, and the upload resumes.
            name: Name of the model; empty = the file's.
            decoder: Family: lodeworks, yolov5, yolov8, yolox, detr, detections; empty = as the file says.
            classes: In the network's order; empty = as the file says.
            settings: input_size, colour, scale, mean, std, fit, pad, strides, score_threshold, nms_iou, max_detections.
            options: What to ask for beside the inputs.
            progress: Called with the bytes uploaded so far.

        Raises:
            InvalidError: The file is not there, or is no model.
        """
        path = _there(Path(file))
        blob = self._connection.hash_file(path)
        self._connection.upload(self._project, [blob], progress=progress)
        request = pb.ImportModelRequest(
            project=self._project,
            name=name,
            blob_digest=blob.digest,
            file_name=path.name,
            decoder=decoder,
            class_names=classes,
            settings_yaml=settings_yaml(settings),
            task_options=to_message(options),
            request_id=new_request_id(),
        )
        response: pb.ImportModelResponse = self._connection.call(ModelServiceStub, "ImportModel", request)
        return task_of(self._connection, response.task_id, self._made)

    def settings(
        self,
        *,
        train: DatasetVersion,
        val: DatasetVersion,
        classes: Sequence[str] = (),
        executor: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> str:
        """Checks a training without starting it; returns the settings that would be in force, as YAML."""
        request = self._training(train, val, classes=classes, executor=executor, settings=settings)
        request.dry_run = True
        response: pb.TrainModelResponse = self._connection.call(ModelServiceStub, "TrainModel", request)
        return response.settings_yaml

    def get(self, name: str) -> ModelVersion:
        """Returns a version or stage: ``name``, ``name@3``, ``name@3:stage`` or an id. Raises NotFoundError."""
        response: pb.GetModelResponse = self._connection.call(
            ModelServiceStub, "GetModel", pb.GetModelRequest(project=self._project, model=name)
        )
        stage = name.partition(":")[2]
        return ModelVersion(self._connection, self._project, response.version, stage=stage)

    def list(self, *, hidden: bool = False) -> Iterator[pb.Model]:
        """Yields the models with their newest versions, sorted by name."""
        request = pb.ListModelsRequest(project=self._project, include_hidden=hidden)
        for model in pages(self._connection, ModelServiceStub, "ListModels", request, items="models"):
            yield model

    def history(self, name: str) -> Iterator[ModelVersion]:
        """Yields all versions of a model, newest first."""
        request = pb.ListModelVersionsRequest(project=self._project, model=name)
        for data in pages(self._connection, ModelServiceStub, "ListModelVersions", request, items="versions"):
            yield ModelVersion(self._connection, self._project, data)

    def recommend(self, stage: str) -> ModelVersion:
        """Chooses the stage (``name@3:stage``) that is meant when none is named."""
        request = pb.RecommendStageRequest(project=self._project, stage=stage, request_id=new_request_id())
        response: pb.RecommendStageResponse = self._connection.call(ModelServiceStub, "RecommendStage", request)
        return ModelVersion(self._connection, self._project, response.version)

    def rename(self, name: str, new_name: str) -> pb.Model:
        """Gives a model another name. Raises ExistsError."""
        request = pb.RenameModelRequest(project=self._project, model=name, name=new_name, request_id=new_request_id())
        response: pb.RenameModelResponse = self._connection.call(ModelServiceStub, "RenameModel", request)
        return response.model

    def delete(self, name: str) -> None:
        """Deletes a version (``name@3``) or a model with all of its versions (``name``)."""
        request = pb.DeleteModelRequest(project=self._project, model=name, request_id=new_request_id())
        self._connection.call(ModelServiceStub, "DeleteModel", request)

    def _training(
        self,
        train: DatasetVersion,
        val: DatasetVersion,
        *,
        classes: Sequence[str],
        executor: str,
        settings: Mapping[str, Any] | None,
        name: str = "",
    ) -> pb.TrainModelRequest:
        return pb.TrainModelRequest(
            project=self._project,
            name=name,
            train=train.id,
            val=val.id,
            class_names=classes,
            executor=executor,
            settings_yaml=settings_yaml(settings),
            request_id=new_request_id(),
        )

    def _made(self, task: TaskData) -> ModelVersion:
        return self.get(task.result.id)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InvalidError(f"{path} is not there; name an ONNX file or a model package", reason="SOURCE_INVALID")
    return path
