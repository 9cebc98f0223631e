"""What people call about executors."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from lodeworks.api.executor.v1 import executor_pb2, executor_pb2_grpc

from lodeworks_controller.domain.executor import ExecutorOperation
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.executor import ExecutorService, ListedExecutor
from lodeworks_controller.transport.wire import page_size

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]


class ExecutorServicer(executor_pb2_grpc.ExecutorServiceServicer):
    """Serves ``lodeworks.api.executor.v1.ExecutorService``."""

    def __init__(self, executors: ExecutorService, *, caller: CallerOf) -> None:
        self._executors = executors
        self._caller = caller

    async def ListExecutors(
        self, request: executor_pb2.ListExecutorsRequest, context: Context
    ) -> executor_pb2.ListExecutorsResponse:
        """Lists the executors."""
        await self._caller(context)
        limit = page_size(request.page_size)
        known = [one for one in await self._executors.list() if one.executor.name > request.page_token]
        page = known[:limit]
        token = page[-1].executor.name if len(known) > limit else ""
        return executor_pb2.ListExecutorsResponse(executors=[_to_executor(one) for one in page], next_page_token=token)

    async def GetExecutor(
        self, request: executor_pb2.GetExecutorRequest, context: Context
    ) -> executor_pb2.GetExecutorResponse:
        """Shows one executor with its settings."""
        await self._caller(context)
        return executor_pb2.GetExecutorResponse(executor=_to_executor(await self._executors.get(request.executor)))

    async def AddExecutor(
        self, request: executor_pb2.AddExecutorRequest, context: Context
    ) -> executor_pb2.AddExecutorResponse:
        """Registers a docker image as an executor."""
        templates = {_operation(one.operation): one.template_yaml for one in request.templates}
        added = await self._executors.add(
            await self._caller(context),
            request.name,
            image=request.image,
            templates=templates,
            request_id=request.request_id,
        )
        return executor_pb2.AddExecutorResponse(executor=_to_executor(await self._executors.get(added.id)))

    async def DeleteExecutor(
        self, request: executor_pb2.DeleteExecutorRequest, context: Context
    ) -> executor_pb2.DeleteExecutorResponse:
        """Removes an executor that no task uses."""
        await self._executors.delete(await self._caller(context), request.executor, request_id=request.request_id)
        return executor_pb2.DeleteExecutorResponse()


def _operation(name: str) -> ExecutorOperation:
    try:
        return ExecutorOperation(name)
    except ValueError as error:
        message = f"{name!r} is no operation; there are train, mine and infer"
        raise InvalidError("TEMPLATE_INVALID", message, field="templates") from error


def _to_executor(listed: ListedExecutor) -> executor_pb2.Executor:
    executor = listed.executor
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
    )
