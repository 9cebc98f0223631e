"""What schedules can carry out: the very rpcs that make tasks, called by the controller in a person's name."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from lodeworks.api.dataset.v1 import dataset_pb2
from lodeworks.api.model.v1 import model_pb2

from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.schedule import Method
from lodeworks_controller.transport.dataset import DatasetServicer
from lodeworks_controller.transport.model import ModelServicer

Call = Callable[[Any, Any], Awaitable[Any]]


class OwnGate:
    """Lets in whom the controller acts for: in place of the call's context stands the person."""

    async def caller(self, context: Any) -> Principal:
        """Returns the person."""
        assert isinstance(context, Principal), "only the controller's own calls come through this gate"
        return context


def scheduled_methods(datasets: DatasetServicer, models: ModelServicer) -> Mapping[str, Method]:
    """Returns what can be scheduled, by name.

    Args:
        datasets: Serves datasets behind an `OwnGate`.
        models: Serves models behind an `OwnGate`.
    """
    calls: dict[str, tuple[type[Message], Call]] = {
        "dataset.export": (dataset_pb2.ExportDatasetRequest, datasets.ExportDataset),
        "dataset.generate": (dataset_pb2.GenerateDatasetRequest, datasets.GenerateDataset),
        "dataset.import": (dataset_pb2.ImportDatasetRequest, datasets.ImportDataset),
        "dataset.mine": (dataset_pb2.MineDatasetRequest, datasets.MineDataset),
        "model.evaluate": (model_pb2.EvaluateModelRequest, models.EvaluateModel),
        "model.infer": (model_pb2.InferModelRequest, models.InferModel),
        "model.publish": (model_pb2.PublishModelRequest, models.PublishModel),
        "model.train": (model_pb2.TrainModelRequest, models.TrainModel),
    }
    return {name: _method(kind, call) for name, (kind, call) in calls.items()}


def _method(kind: type[Message], call: Call) -> Method:
    def check(project_id: str, request: str) -> str:
        message = _read(kind, request)
        if getattr(message, "dry_run", False):
            raise _wrong("a dry run makes no task")
        if isinstance(message, dataset_pb2.ImportDatasetRequest) and message.source.blob_digest:
            raise _wrong("an uploaded archive stays what it is; import from where new pictures arrive")
        _set(message, project=project_id, request_id="")
        return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)

    async def make(principal: Principal, request: str, request_id: str) -> str:
        message = _read(kind, request)
        _set(message, request_id=request_id)
        return str((await call(message, principal)).task_id)

    return Method(check, make)


def _read(kind: type[Message], request: str) -> Message:
    try:
        return json_format.Parse(request, kind())
    except json_format.ParseError as error:
        raise _wrong(f"{error} ({kind.DESCRIPTOR.full_name})") from error


def _set(message: Message, **values: str) -> None:
    for name, value in values.items():
        setattr(message, name, value)


def _wrong(why: str) -> InvalidError:
    return InvalidError("SCHEDULE_REQUEST", f"the request cannot be scheduled: {why}", field="request_json")
