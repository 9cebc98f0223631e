"""What administrators call about workers."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc.aio
from lodeworks.api.worker.v1 import worker_pb2, worker_pb2_grpc

from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.worker import WorkerState
from lodeworks_controller.service.enrolment import WORKER_TOKEN_LIFETIME, EnrolmentService
from lodeworks_controller.service.worker import WorkerService, WorkerView
from lodeworks_controller.transport.wire import from_duration, page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]
CallerOf = Callable[[Context], Awaitable[Principal]]

_STATES = {state: worker_pb2.WorkerState.Value(f"WORKER_STATE_{state.name}") for state in WorkerState}


class WorkerAdministrationServicer(worker_pb2_grpc.WorkerServiceServicer):
    """Administers the workers of an installation."""

    def __init__(
        self, workers: WorkerService, enrolment: EnrolmentService, *, caller: CallerOf, ca_fingerprint: str
    ) -> None:
        self._workers = workers
        self._enrolment = enrolment
        self._caller = caller
        self._ca_fingerprint = ca_fingerprint

    async def AddWorker(self, request: worker_pb2.AddWorkerRequest, context: Context) -> worker_pb2.AddWorkerResponse:
        """Announces a worker and makes its one-time token."""
        asked = timedelta(seconds=from_duration(request.token_lifetime))
        worker, token = await self._enrolment.add_worker(
            await self._caller(context),
            request.name,
            labels=request.labels,
            lifetime=asked or WORKER_TOKEN_LIFETIME,
            request_id=request.request_id,
        )
        view = await self._workers.get(worker.id)
        return worker_pb2.AddWorkerResponse(worker=_to_worker(view), token=token, ca_fingerprint=self._ca_fingerprint)

    async def GetWorker(self, request: worker_pb2.GetWorkerRequest, context: Context) -> worker_pb2.GetWorkerResponse:
        """Shows one worker."""
        await self._caller(context)
        return worker_pb2.GetWorkerResponse(worker=_to_worker(await self._workers.get(request.worker)))

    async def ListWorkers(
        self, request: worker_pb2.ListWorkersRequest, context: Context
    ) -> worker_pb2.ListWorkersResponse:
        """Lists the workers."""
        await self._caller(context)
        limit = page_size(request.page_size)
        views = [view for view in await self._workers.list() if view.worker.name > request.page_token]
        token = views[limit - 1].worker.name if len(views) > limit else ""
        return worker_pb2.ListWorkersResponse(
            workers=[_to_worker(view) for view in views[:limit]], next_page_token=token
        )

    async def DrainWorker(
        self, request: worker_pb2.DrainWorkerRequest, context: Context
    ) -> worker_pb2.DrainWorkerResponse:
        """Lets a worker finish what it runs and gives it nothing new."""
        view = await self._workers.drain(await self._caller(context), request.worker)
        return worker_pb2.DrainWorkerResponse(worker=_to_worker(view))

    async def UndrainWorker(
        self, request: worker_pb2.UndrainWorkerRequest, context: Context
    ) -> worker_pb2.UndrainWorkerResponse:
        """Gives a worker tasks again."""
        view = await self._workers.undrain(await self._caller(context), request.worker)
        return worker_pb2.UndrainWorkerResponse(worker=_to_worker(view))

    async def DeleteWorker(
        self, request: worker_pb2.DeleteWorkerRequest, context: Context
    ) -> worker_pb2.DeleteWorkerResponse:
        """Removes a worker and revokes its certificate."""
        await self._workers.delete(await self._caller(context), request.worker, request_id=request.request_id)
        return worker_pb2.DeleteWorkerResponse()


def _to_worker(view: WorkerView) -> worker_pb2.Worker:
    worker, told = view.worker, view.worker.capabilities
    return worker_pb2.Worker(
        id=worker.id,
        name=worker.name,
        state=_STATES[view.state],
        draining=worker.draining,
        version=worker.version,
        hostname=worker.hostname,
        cpus=told.cpus,
        memory_bytes=told.memory_bytes,
        gpus=[
            worker_pb2.Gpu(uuid=gpu.uuid, model=gpu.model, memory_bytes=gpu.memory_bytes, task_id=gpu.task_id)
            for gpu in view.gpus
        ],
        capabilities=sorted(told.names),
        missing=dict(told.missing),
        labels={**told.labels, **worker.labels},
        task_ids=view.task_ids,
        last_seen_time=to_time(worker.last_seen_at),
    )
