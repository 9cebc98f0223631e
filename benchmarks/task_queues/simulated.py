"""A worker that speaks the real protocol over its own mTLS connection, and whose runs do nothing."""

import asyncio
import time
from collections.abc import Callable

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from lodeworks.agent.worker.v1 import worker_pb2 as agent_pb2
from lodeworks.agent.worker.v1 import worker_pb2_grpc as agent_grpc

_CAPABILITIES = ("executor:true", "driver:process")


class SimulatedWorker:
    """Registers, polls, reports, completes.

    Args:
        channel: To the port of the agents.
        slots: How many runs it takes at once.
        started: Called with a task's id at the moment its run begins.
    """

    def __init__(
        self, channel: grpc.aio.Channel, *, slots: int, started: Callable[[str, float], object] = lambda *_: None
    ) -> None:
        self._stub = agent_grpc.WorkerServiceStub(channel)
        self._slots = slots
        self._started = started
        self._held: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._freed = asyncio.Event()
        self._session = ""
        self._seq = 0
        self.polls = 0
        self.completed = 0
        self.interval_s = 10.0

    async def register(self) -> None:
        """Opens a session."""
        capabilities = agent_pb2.Capabilities(capabilities=_CAPABILITIES, max_runs=self._slots, cpus=1)
        told = await self._stub.Register(
            agent_pb2.RegisterRequest(boot_id="benchmark", version="0", hostname="here", capabilities=capabilities),
            wait_for_ready=True,
        )
        self._session = told.session
        self.interval_s = told.report_interval.seconds or 10.0

    async def work(self) -> None:
        """Takes tasks and completes them until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll())
            group.create_task(self._report())

    async def _poll(self) -> None:
        while True:
            self._freed.clear()
            room = self._slots - len(self._held)
            if not room:
                await self._freed.wait()
                continue
            await self.poll_once(room=room)

    async def poll_once(self, *, room: int, wait_s: int = 20) -> int:
        """Polls and begins what was granted; returns how much that was."""
        request = agent_pb2.PollRequest(
            session=self._session, max_leases=room, wait=Duration(seconds=wait_s), have_directive_seq=self._seq
        )
        told = await self._stub.Poll(request)
        at = time.perf_counter()
        self.polls += 1
        for directive in told.directives:
            self._seq = max(self._seq, directive.seq)
        for grant in told.grants:
            self._started(grant.task_id, at)
            key = (grant.task_id, grant.lease_epoch)
            if key not in self._held:
                self._held[key] = asyncio.create_task(self._run(key))
        return len(told.grants)

    async def _run(self, key: tuple[str, int]) -> None:
        task_id, epoch = key
        await self._stub.Complete(
            agent_pb2.CompleteRequest(
                request_id=f"{task_id}-{epoch}",
                session=self._session,
                task_id=task_id,
                lease_epoch=epoch,
                outcome=agent_pb2.OUTCOME_SUCCEEDED,
            )
        )
        self.completed += 1
        del self._held[key]
        self._freed.set()

    async def _report(self) -> None:
        number = 0
        while True:
            number += 1
            await self.report(number)
            await asyncio.sleep(self.interval_s)

    async def report(self, number: int) -> float:
        """Reports once; returns how long that took, in seconds."""
        leases = [
            agent_pb2.LeaseReport(task_id=task_id, lease_epoch=epoch, phase=agent_pb2.PHASE_RUNNING, progress=-1.0)
            for task_id, epoch in self._held
        ]
        began = time.perf_counter()
        await self._stub.Report(agent_pb2.ReportRequest(session=self._session, seq=number, leases=leases))
        return time.perf_counter() - began
