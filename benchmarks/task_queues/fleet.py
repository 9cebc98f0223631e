"""A thousand workers: what they cost a controller at production cadence, and how soon all are back after kill -9."""

import asyncio
import shutil
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from lodeworks.agent.worker.v1 import worker_pb2 as agent_pb2
from lodeworks.agent.worker.v1 import worker_pb2_grpc as agent_grpc
from lodeworks.channel.dial import ClientCertificate
from task_queues.figures import percentile, processor_s, resident_bytes
from task_queues.installation import Installation, scratch

ENROL_AT_ONCE = 8
POLL_S = 20
REPORT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 1.0
BACK_WITHIN_S = 30.0


@dataclass(slots=True)
class FleetWorker:
    """One worker of the fleet: an open poll, a report every ten seconds, nothing to do."""

    channel: grpc.aio.Channel
    share: float
    """Where between 0 and 1 it stands in the fleet; spreads it over the interval."""
    registered_at: float = 0.0
    report_s: list[float] = field(default_factory=list)
    session: str = ""

    async def live(self) -> None:
        """Registers, and again whenever the controller was away."""
        stub = agent_grpc.WorkerServiceStub(self.channel)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                capabilities = agent_pb2.Capabilities(capabilities=("executor:none",), max_runs=1, cpus=1)
                told = await stub.Register(
                    agent_pb2.RegisterRequest(boot_id="b", capabilities=capabilities), timeout=10
                )
                self.session, self.registered_at = told.session, time.monotonic()
                pause_s = FIRST_PAUSE_S
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._poll(stub))
                    group.create_task(self._report(stub))
            except* grpc.RpcError:
                # As the worker's own session does.
                await asyncio.sleep(pause_s * (0.5 + self.share / 2))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _poll(self, stub: Any) -> None:
        while True:
            await stub.Poll(agent_pb2.PollRequest(session=self.session, max_leases=1, wait=Duration(seconds=POLL_S)))

    async def _report(self, stub: Any) -> None:
        await asyncio.sleep(self.share * REPORT_S)
        number = 0
        while True:
            number += 1
            began = time.perf_counter()
            await stub.Report(agent_pb2.ReportRequest(session=self.session, seq=number))
            self.report_s.append(time.perf_counter() - began)
            await asyncio.sleep(REPORT_S)


async def measure_fleet(*, size: int, settle_s: float) -> dict[str, float]:
    """Returns what `size` workers cost, what a person's call takes meanwhile, and how soon all are back."""
    installation = Installation(scratch("fleet"))
    installation.make()
    installation.start()
    try:
        certificates = await _enrolled(installation, size)
        # A fresh start: what enrolling cost is not what the workers cost.
        installation.stop()
        installation.start()
        before = resident_bytes(installation.pid)
        fleet = [FleetWorker(_channel(installation, one), place / size) for place, one in enumerate(certificates)]
        living = [asyncio.create_task(one.live()) for one in fleet]
        await _all_back(fleet, since=0.0)
        await asyncio.sleep(REPORT_S)
        figures = await _steady(installation, fleet, before=before, settle_s=settle_s)
        figures |= await _killed(installation, fleet)
        for one in living:
            one.cancel()
        await asyncio.gather(*living, return_exceptions=True)
        return figures
    finally:
        installation.stop()
        shutil.rmtree(installation.folder, ignore_errors=True)


async def _enrolled(installation: Installation, size: int) -> list[ClientCertificate]:
    made: list[ClientCertificate] = []
    numbers = iter(range(size))
    async with installation.person() as person:

        async def enrol() -> None:
            for number in numbers:
                _, certificate = await installation.enrol(f"fleet-{number}", person)
                made.append(certificate)

        await asyncio.gather(*(enrol() for _ in range(ENROL_AT_ONCE)))
    return made


def _channel(installation: Installation, certificate: ClientCertificate) -> grpc.aio.Channel:
    return installation.agent(certificate)


async def _all_back(fleet: list[FleetWorker], *, since: float) -> None:
    deadline = time.monotonic() + BACK_WITHIN_S * 4
    while any(one.registered_at <= since for one in fleet):
        if time.monotonic() > deadline:
            missing = sum(one.registered_at <= since for one in fleet)
            raise TimeoutError(f"{missing} of {len(fleet)} workers did not come back")
        await asyncio.sleep(0.02)


async def _steady(
    installation: Installation, fleet: list[FleetWorker], *, before: int, settle_s: float
) -> dict[str, float]:
    for one in fleet:
        one.report_s.clear()
    used_s, began = processor_s(installation.pid), time.monotonic()
    times = []
    async with installation.person() as person:
        queue = installation.queue(person)
        while time.monotonic() - began < settle_s:
            asked = time.perf_counter()
            await queue.counts()
            times.append(time.perf_counter() - asked)
            await asyncio.sleep(0.25)
    core = (processor_s(installation.pid) - used_s) / (time.monotonic() - began)
    reports = [took for one in fleet for took in one.report_s]
    return {
        "fleet_core_percent": core * 100,
        "fleet_kib_each": (resident_bytes(installation.pid) - before) / 1024 / len(fleet),
        "fleet_call_p99_ms": percentile(times, 0.99) * 1e3,
        "fleet_report_p99_ms": percentile(reports, 0.99) * 1e3,
    }


async def _killed(installation: Installation, fleet: list[FleetWorker]) -> dict[str, float]:
    killed_at = time.monotonic()
    installation.stop(signal.SIGKILL)
    await asyncio.to_thread(installation.start)
    listening_at = time.monotonic()
    await _all_back(fleet, since=killed_at)
    last = max(one.registered_at for one in fleet)
    return {"back_after_listening_s": max(0.0, last - listening_at), "back_after_kill_s": last - killed_at}
