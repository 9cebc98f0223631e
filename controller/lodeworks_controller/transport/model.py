"""What people call about models."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
from lodeworks.api.model.v1 import model_pb2, model_pb2_grpc

from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.model import ModelState, ModelVersion, Stage
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.adoption import AdoptionService, AdoptWish
from lodeworks_controller.service.measuring import InferWish, MeasuringService
from lodeworks_controller.service.model import ListedModel, ModelService
from lodeworks_controller.service.publishing import PublishingService, PublishWish
from lodeworks_controller.service.training import TrainingService, TrainWish
from lodeworks_controller.transport.task_options import to_options
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]

_STATES = {state: model_pb2.ModelState.Value(f"MODEL_STATE_{state.name}") for state in ModelState}


@dataclass(frozen=True, slots=True)
class ModelServices:
    """What is done with models."""

    models: ModelService
    training: TrainingService
    adoption: AdoptionService
    measuring: MeasuringService
    publishing: PublishingService


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Serves ``lodeworks.api.model.v1.ModelService``."""

    def __init__(self, services: ModelServices, *, caller: CallerOf) -> None:
        self._models = services.models
        self._training = services.training
        self._adoption = services.adoption
        self._measuring = services.measuring
        self._publishing = services.publishing
        self._caller = caller

    async def TrainModel(self, request: model_pb2.TrainModelRequest, context: Context) -> model_pb2.TrainModelResponse:
        """Trains a version."""
        wish = TrainWish(
            train=request.train,
            val=request.val,
            name=request.name,
            class_names=tuple(request.class_names),
            executor=request.executor,
            from_stage=request.from_stage,
            gpus=request.gpus,
            longest_side_px=request.longest_side_px,
            settings_yaml=request.settings_yaml,
            options=to_options(request.task_options),
        )
        made = await self._training.train(
            await self._caller(context), request.project, wish, dry_run=request.dry_run, request_id=request.request_id
        )
        return model_pb2.TrainModelResponse(
            task_id=made.task_id,
            version=to_version(made.version),
            settings_yaml=made.version.training.settings_yaml,
        )

    async def ImportModel(
        self, request: model_pb2.ImportModelRequest, context: Context
    ) -> model_pb2.ImportModelResponse:
        """Takes in a model that was trained elsewhere."""
        wish = AdoptWish(
            digest=request.blob_digest,
            file_name=request.file_name,
            name=request.name,
            decoder=request.decoder,
            class_names=tuple(request.class_names),
            settings_yaml=request.settings_yaml,
            options=to_options(request.task_options),
        )
        made = await self._adoption.adopt(
            await self._caller(context), request.project, wish, request_id=request.request_id
        )
        return model_pb2.ImportModelResponse(task_id=made.task_id, version=to_version(made.version))

    async def ListModels(self, request: model_pb2.ListModelsRequest, context: Context) -> model_pb2.ListModelsResponse:
        """Lists the models of a project with their newest versions."""
        limit = page_size(request.page_size)
        found = await self._models.list(
            await self._caller(context),
            request.project,
            hidden=request.include_hidden,
            after_name=request.page_token,
            limit=limit,
        )
        token = found[-1].model.name if len(found) == limit else ""
        return model_pb2.ListModelsResponse(models=[_to_model(one) for one in found], next_page_token=token)

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Context) -> model_pb2.GetModelResponse:
        """Shows one version of a model."""
        listed, version = await self._models.get(await self._caller(context), request.project, request.model)
        return model_pb2.GetModelResponse(model=_to_model(listed), version=to_version(version))

    async def ListModelFiles(
        self, request: model_pb2.ListModelFilesRequest, context: Context
    ) -> model_pb2.ListModelFilesResponse:
        """Lists what a training left beside its stages."""
        found = await self._models.files(await self._caller(context), request.project, request.model)
        files = [
            model_pb2.ModelFile(path=path, digest=output.digest, size_bytes=output.size_bytes) for path, output in found
        ]
        return model_pb2.ListModelFilesResponse(files=files)

    async def ListModelVersions(
        self, request: model_pb2.ListModelVersionsRequest, context: Context
    ) -> model_pb2.ListModelVersionsResponse:
        """Lists all versions of a model."""
        limit = page_size(request.page_size)
        found = await self._models.versions(
            await self._caller(context),
            request.project,
            request.model,
            before_number=page_number(request.page_token),
            limit=limit,
        )
        token = str(found[-1].number) if len(found) == limit else ""
        return model_pb2.ListModelVersionsResponse(versions=[to_version(one) for one in found], next_page_token=token)

    async def RecommendStage(
        self, request: model_pb2.RecommendStageRequest, context: Context
    ) -> model_pb2.RecommendStageResponse:
        """Chooses the stage that is meant when none is named."""
        version = await self._models.recommend(
            await self._caller(context), request.project, request.stage, request_id=request.request_id
        )
        return model_pb2.RecommendStageResponse(version=to_version(version))

    async def InferModel(self, request: model_pb2.InferModelRequest, context: Context) -> model_pb2.InferModelResponse:
        """Predicts on a dataset."""
        wish = InferWish(
            model=request.model,
            dataset=request.dataset,
            variant=request.variant,
            algorithm=request.algorithm,
            executor=request.executor,
            settings_yaml=request.settings_yaml,
            options=to_options(request.task_options),
        )
        task_id = await self._measuring.infer(
            await self._caller(context), request.project, wish, request_id=request.request_id
        )
        return model_pb2.InferModelResponse(task_id=task_id)

    async def EvaluateModel(
        self, request: model_pb2.EvaluateModelRequest, context: Context
    ) -> model_pb2.EvaluateModelResponse:
        """Measures a model on a dataset."""
        wish = InferWish(
            model=request.model,
            dataset=request.dataset,
            variant=request.variant,
            algorithm=request.algorithm,
            options=to_options(request.task_options),
        )
        evaluation = await self._measuring.evaluate(
            await self._caller(context),
            request.project,
            wish,
            protocol=request.protocol,
            request_id=request.request_id,
        )
        return model_pb2.EvaluateModelResponse(
            task_id=evaluation.task_id, evaluation_id=evaluation.id, warnings=evaluation.warnings
        )

    async def PublishModel(
        self, request: model_pb2.PublishModelRequest, context: Context
    ) -> model_pb2.PublishModelResponse:
        """Converts, quantizes and measures a stage for its targets."""
        wish = PublishWish(
            model=request.model,
            name=request.name,
            targets=tuple(request.targets),
            precisions=tuple(request.precisions),
            calibrate=request.calibrate,
            guard=request.guard,
            max_drop=request.max_drop,
            sign=request.sign,
            settings_yaml=request.settings_yaml,
            options=to_options(request.task_options),
        )
        release = await self._publishing.publish(
            await self._caller(context), request.project, wish, request_id=request.request_id
        )
        return model_pb2.PublishModelResponse(task_id=release.task_id, release_id=release.id)

    async def RenameModel(
        self, request: model_pb2.RenameModelRequest, context: Context
    ) -> model_pb2.RenameModelResponse:
        """Gives a model another name."""
        listed = await self._models.rename(
            await self._caller(context),
            request.project,
            request.model,
            new_name=request.name,
            request_id=request.request_id,
        )
        return model_pb2.RenameModelResponse(model=_to_model(listed))

    async def DeleteModel(
        self, request: model_pb2.DeleteModelRequest, context: Context
    ) -> model_pb2.DeleteModelResponse:
        """Deletes a version, or a model with all of its versions."""
        await self._models.delete(
            await self._caller(context), request.project, request.model, request_id=request.request_id
        )
        return model_pb2.DeleteModelResponse()


def page_number(token: str) -> int | None:
    """Returns the number in a page token of a list by number, None for the first page."""
    if token and not (token.isascii() and token.isdecimal()):
        raise InvalidError("PAGE_TOKEN", "the page token is not one of this list", field="page_token")
    return int(token) if token else None


def to_version(version: ModelVersion) -> model_pb2.ModelVersion:
    """Returns a version as a message."""
    training = version.training
    best = next((stage for stage in version.stages if stage.name == version.recommended_stage), None)
    return model_pb2.ModelVersion(
        id=version.id,
        model_id=version.model_id,
        name=version.full_name,
        number=version.number,
        state=_STATES[version.state],
        stages=[_to_stage(stage) for stage in version.stages],
        recommended_stage=version.recommended_stage,
        class_names=version.class_names,
        executor=training.executor,
        settings_yaml=training.settings_yaml,
        train_version_id=training.train_version_id,
        val_version_id=training.val_version_id,
        train_name=training.train_name,
        val_name=training.val_name,
        from_stage=training.from_stage,
        task_id=version.task_id,
        map50=(best.map50 or 0.0) if best is not None else 0.0,
        create_time=to_time(version.created_at),
    )


def _to_stage(stage: Stage) -> model_pb2.Stage:
    return model_pb2.Stage(
        name=stage.name,
        files=[
            model_pb2.StageFile(name=file.name, digest=file.digest, size_bytes=file.size_bytes) for file in stage.files
        ],
        metrics=stage.metrics,
        create_time=to_time(stage.created_at),
    )


def _to_model(listed: ListedModel) -> model_pb2.Model:
    model = listed.model
    return model_pb2.Model(
        id=model.id,
        project_id=model.project_id,
        name=model.name,
        latest=None if listed.latest is None else to_version(listed.latest),
        version_count=listed.version_count,
        create_time=to_time(model.created_at),
        hidden=model.hidden,
    )
