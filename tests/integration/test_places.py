"""A controller that is added later is learnt by the worker and the device that knew only the first."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from controller_world import Installation, installation
from device_world import MadeDevice, until
from lodeworks.api.worker.v1 import worker_pb2, worker_pb2_grpc
from lodeworks.channel.addresses import addresses_of
from lodeworks.channel.pinning import fingerprint
from lodeworks.profile import Profile
from lodeworks.resources.client import AsyncClient
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_worker import enrolment

TERMS = LeaseTerms(poll_wait_s=1.0, report_interval_s=0.5)
WORKER = str(Path(sys.executable).with_name("lode-worker"))


@pytest.fixture
def ports() -> Sequence[int]:
    """Four ports that nobody has: people and agents of two controllers, of which the second never comes."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(4)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


async def enrol(home: Installation, worker: Path, device: MadeDevice) -> None:
    ca = fingerprint(home.ca_pem)
    async with home.person() as channel:
        added = await worker_pb2_grpc.WorkerServiceStub(channel).AddWorker(worker_pb2.AddWorkerRequest(name="box"))
    folder = worker / "identity"
    await enrolment.enrol(folder, server=home.people, token=added.token, ca_fingerprint=ca, hostname="box")
    (worker / "worker.toml").write_text('drivers = ["process"]\n')
    profile = Profile("test", home.people, ca_pem=home.ca_pem.decode(), token=home.token)
    async with AsyncClient(profile) as client:
        token = (await (await client.projects.get("default")).devices.add("gate")).token
    done = await asyncio.to_thread(device.command, "enroll", home.people, "--ca", ca, "--token", token)
    assert done.returncode == 0, done.stderr


def told(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


@pytest.mark.timeout(180)
async def test_agents_remember_where_controllers_are_as_these_tell_it(tmp_path: Path, ports: Sequence[int]) -> None:
    people, agents, more_people, more_agents = (f"127.0.0.1:{port}" for port in ports)
    here = {"listen": people, "listen_agents": agents}
    device, worker, log = MadeDevice(tmp_path / "device"), tmp_path / "worker", tmp_path / "worker.log"
    identities = [worker / "identity/worker.json", tmp_path / "device/identity/device.json"]
    async with installation(tmp_path / "controller", terms=TERMS, **here) as home:
        await enrol(home, worker, device)
        assert {told(file)["agents"] for file in identities} == {agents}
        process = run(worker, log)
        try:
            await until(lambda: "session 1 is open" in log.read_text(), log=log)
        except BaseException:
            await put_down(process, device)
            raise
    both = {"agent_addresses": (agents, more_agents), "addresses": (people, more_people)}
    try:
        async with installation(tmp_path / "controller", terms=TERMS, **here, **both):
            device.start()  # its first call waits for nothing
            for file, said in zip(identities, (log, device.log), strict=True):
                await until(lambda: len(addresses_of(told(file)["agents"])) == 2, log=said)  # noqa: B023
                assert {*addresses_of(told(file)["agents"])} == {agents, more_agents}
                assert told(file)["server"] == f"{people},{more_people}"
            # They connect anew, with the first that answers.
            await until(lambda: "the controllers are at" in log.read_text(), log=log)
            await until(lambda: log.read_text().rpartition("the controllers are at")[2].count("is open"), log=log)
            await until(lambda: "the controllers are at" in device.log.read_text(), log=device.log)
            assert process.poll() is None
    finally:
        await put_down(process, device)


def run(worker: Path, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen([WORKER, "run", "--state", str(worker)], stdout=output, stderr=output)


async def put_down(process: "subprocess.Popen[bytes]", device: MadeDevice) -> None:
    process.terminate()
    await asyncio.to_thread(process.wait, 30)
    await asyncio.to_thread(device.shut_down)
