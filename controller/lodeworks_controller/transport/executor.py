"""What people call about executors."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
from lodeworks.api.executor.v1 import executor_pb2, executor_pb2_grpc

from lodeworks_controller.domain.executor import ExecutorOperation, ExecutorPolicy
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.executor import ExecutorService, ListedExecutor
from lodeworks_controller.service.executor_registry import ExecutorRegistry
from lodeworks_controller.service.images import CheckWish, ImageService
from lodeworks_controller.transport.wire import page_size

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]


@dataclass(frozen=True, slots=True)
class ExecutorServices:
    """What is served of executors."""

    executors: ExecutorService
    registry: ExecutorRegistry
    images: ImageService


class ExecutorServicer(executor_pb2_grpc.ExecutorServiceServicer):
    """Serves ``lodeworks.api.executor.v1.ExecutorService``."""

    def __init__(self, services: ExecutorServices, *, caller: CallerOf) -> None:
        self._executors = services.executors
        self._registry = services.registry
        self._images = services.images
        self._caller = caller

    async def ListExecutors(
        self, request: executor_pb2.ListExecutorsRequest, context: Context
    ) -> executor_pb2.ListExecutorsResponse:
        """Lists the executors."""
        limit = page_size(request.page_size)
        found = await self._executors.list(
            await self._caller(context), project=request.project, public_only=request.public_only
        )
        known = [one for one in found if one.executor.name > request.page_token]
        page = known[:limit]
        token = page[-1].executor.name if len(known) > limit else ""
        return executor_pb2.ListExecutorsResponse(executors=[_to_executor(one) for one in page], next_page_token=token)

    async def GetExecutor(
        self, request: executor_pb2.GetExecutorRequest, context: Context
    ) -> executor_pb2.GetExecutorResponse:
        """Shows one executor with its settings."""
        found = await self._executors.get(await self._caller(context), request.executor)
        return executor_pb2.GetExecutorResponse(executor=_to_executor(found))

    async def AddExecutor(
        self, request: executor_pb2.AddExecutorRequest, context: Context
    ) -> executor_pb2.AddExecutorResponse:
        """Registers an image or a program; an image without templates is read by a worker first."""
        caller = await self._caller(context)
        if request.image and not request.templates:
            task_id = await self._images.add(
                caller, request.name, image=request.image, project=request.project, request_id=request.request_id
            )
            return executor_pb2.AddExecutorResponse(task_id=task_id)
        added = await self._registry.add(
            caller,
            request.name,
            image=request.image,
            templates={_operation(one.operation): one.template_yaml for one in request.templates},
            project=request.project,
            request_id=request.request_id,
        )
        return executor_pb2.AddExecutorResponse(executor=await self._shown(added))

    async def DeleteExecutor(
        self, request: executor_pb2.DeleteExecutorRequest, context: Context
    ) -> executor_pb2.DeleteExecutorResponse:
        """Removes an executor that nothing uses."""
        await self._registry.delete(await self._caller(context), request.executor, request_id=request.request_id)
        return executor_pb2.DeleteExecutorResponse()

    async def PullExecutor(
        self, request: executor_pb2.PullExecutorRequest, context: Context
    ) -> executor_pb2.PullExecutorResponse:
        """Fetches the image of an executor onto a worker."""
        task_id = await self._images.pull(
            await self._caller(context),
            request.executor,
            newest=request.newest,
            project=request.project,
            request_id=request.request_id,
        )
        return executor_pb2.PullExecutorResponse(task_id=task_id)

    async def CheckImage(
        self, request: executor_pb2.CheckImageRequest, context: Context
    ) -> executor_pb2.CheckImageResponse:
        """Proves an image against the executor protocol."""
        wish = CheckWish(
            image=request.image,
            settings_yaml=request.settings_yaml,
            project=request.project,
            run_timeout_s=request.run_timeout_s,
            gpus=request.gpus,
        )
        task_id = await self._images.check(await self._caller(context), wish, request_id=request.request_id)
        return executor_pb2.CheckImageResponse(task_id=task_id)

    async def GetCheckReport(
        self, request: executor_pb2.GetCheckReportRequest, context: Context
    ) -> executor_pb2.GetCheckReportResponse:
        """Returns what a check found."""
        report = await self._images.report(await self._caller(context), request.task_id)
        findings = [
            executor_pb2.Finding(name=one.name, outcome=one.outcome.value, seen=one.seen, advice=one.advice)
            for one in report.findings
        ]
        told = executor_pb2.CheckReport(image=report.image, passed=report.passed, findings=findings)
        return executor_pb2.GetCheckReportResponse(report=told)

    async def SetExecutorPolicy(
        self, request: executor_pb2.SetExecutorPolicyRequest, context: Context
    ) -> executor_pb2.SetExecutorPolicyResponse:
        """Sets under which bounds the runs of an executor stand."""
        told = request.policy
        policy = ExecutorPolicy(
            network=told.network,
            memory_bytes=told.memory_bytes,
            shm_bytes=told.shm_bytes,
            user=told.user,
            out_bytes=told.out_bytes,
        )
        changed = await self._registry.set_policy(await self._caller(context), request.executor, policy)
        return executor_pb2.SetExecutorPolicyResponse(executor=await self._shown(changed))

    async def AssociateExecutor(
        self, request: executor_pb2.AssociateExecutorRequest, context: Context
    ) -> executor_pb2.AssociateExecutorResponse:
        """Names who mines and infers with what an executor trained."""
        changed = await self._registry.associate(
            await self._caller(context),
            request.executor,
            mining=request.mining_executor if request.HasField("mining_executor") else None,
            inference=request.inference_executor if request.HasField("inference_executor") else None,
        )
        return executor_pb2.AssociateExecutorResponse(executor=await self._shown(changed))

    async def ShareExecutor(
        self, request: executor_pb2.ShareExecutorRequest, context: Context
    ) -> executor_pb2.ShareExecutorResponse:
        """Makes an executor usable in every project, or in its own alone again."""
        changed = await self._registry.share(await self._caller(context), request.executor, public=request.public)
        return executor_pb2.ShareExecutorResponse(executor=await self._shown(changed))

    async def CopyExecutor(
        self, request: executor_pb2.CopyExecutorRequest, context: Context
    ) -> executor_pb2.CopyExecutorResponse:
        """Copies an executor into a project."""
        made = await self._registry.copy(
            await self._caller(context),
            request.executor,
            name=request.name,
            project=request.project,
            request_id=request.request_id,
        )
        return executor_pb2.CopyExecutorResponse(executor=await self._shown(made))

    async def RenameExecutor(
        self, request: executor_pb2.RenameExecutorRequest, context: Context
    ) -> executor_pb2.RenameExecutorResponse:
        """Gives an executor another name."""
        changed = await self._registry.rename(
            await self._caller(context), request.executor, name=request.name, request_id=request.request_id
        )
        return executor_pb2.RenameExecutorResponse(executor=await self._shown(changed))

    async def _shown(self, executor_id: str) -> executor_pb2.Executor:
        return _to_executor(await self._executors.shown(executor_id))


def _operation(name: str) -> ExecutorOperation:
    try:
        return ExecutorOperation(name)
    except ValueError as error:
        message = f"{name!r} is no operation; there are train, mine and infer"
        raise InvalidError("TEMPLATE_INVALID", message, field="templates") from error


def _to_executor(listed: ListedExecutor) -> executor_pb2.Executor:
    executor, policy = listed.executor, listed.executor.policy
    return executor_pb2.Executor(
        id=executor.id,
        name=executor.name,
        kind=executor.kind.value,
        image=executor.image,
        operations=[operation.value for operation in executor.templates],
        templates=[
            executor_pb2.SettingsTemplate(operation=operation.value, template_yaml=text)
            for operation, text in executor.templates.items()
        ],
        object_type=executor.object_type,
        requires=executor.requires,
        available=not listed.unavailable_reason,
        unavailable_reason=listed.unavailable_reason,
        project=listed.project_name,
        public=executor.public,
        reference=executor.reference,
        object_types=executor.object_types,
        policy=executor_pb2.ExecutorPolicy(
            network=policy.network,
            memory_bytes=policy.memory_bytes,
            shm_bytes=policy.shm_bytes,
            user=policy.user,
            out_bytes=policy.out_bytes,
        ),
        mining_executor=listed.mining_name,
        inference_executor=listed.inference_name,
    )
