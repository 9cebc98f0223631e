"""Blobs and logs: bytes per second both ways beside a minimal gRPC stream, the share a resume re-sends, log lines.

python benchmarks/content.py [--mib 512] [--rounds 4]

A real controller (TLS, tokens, SQLite FULL) in a process of its own; the peer, also in a process of its own with the
same certificate, hashes, writes and fsyncs the same bytes and does nothing else. Rounds alternate; medians count.
Prints a table and one JSON line; exit 1 where a goal is missed.
"""

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from content_peer import GET, MESSAGE_BYTES, PUT
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lodeworks.agent.worker.v1 import enrollment_pb2, enrollment_pb2_grpc, log_pb2, log_pb2_grpc, worker_pb2
from lodeworks.agent.worker.v1 import worker_pb2_grpc as agent_grpc
from lodeworks.api.content.v1 import content_pb2, content_pb2_grpc
from lodeworks.api.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lodeworks.api.task.v1 import task_pb2, task_pb2_grpc
from lodeworks.api.worker.v1 import worker_pb2 as admin_pb2
from lodeworks.api.worker.v1 import worker_pb2_grpc as admin_grpc
from lodeworks.channel.content_wire import ContentWire
from lodeworks.channel.dial import ClientCertificate, dial
from lodeworks.channel.download import download
from lodeworks.channel.streams import Streams
from lodeworks.channel.upload import blob_of_bytes, blob_of_file, upload
from lodeworks_controller.trust.installation import load_trust
from task_queues.figures import processor_s

GOALS = {"up_share": 0.8, "down_share": 0.8, "log_lines_s": 500_000.0}
MOST = {"resume_resent_share": 0.02}
LINE_BYTES = 80
BATCH_BYTES = 64 * 1024
LOG_BYTES = 160 << 20
SMALL_BLOBS = 4_000
PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure: its name, value and unit, and what it should be."""

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool = True


@dataclass(frozen=True, slots=True)
class Installation:
    """A controller that runs, and how to reach it."""

    state: Path
    people: str
    agents: str
    token: str
    ca_pem: bytes
    pid: int

    def dial(self) -> grpc.aio.Channel:
        """Dials as its administrator."""
        return dial(self.people, ca_pem=self.ca_pem, token=self.token)


@contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    """Makes one in a folder and runs it."""
    controller = str(Path(sys.executable).with_name("lode-controller"))
    state = folder / "state"
    made = subprocess.run(
        [controller, "init", "--state", str(state), "--json"], check=True, capture_output=True, text=True
    )
    command = [controller, "serve", "--state", str(state), "--listen", "127.0.0.1:0", "--listen-agents", "127.0.0.1:0"]
    with (folder / "controller.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--listen-metrics", "", "--log-level", "WARNING"], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().replace(",", "").split()
        ca_pem = load_trust(state / "trust", clock=lambda: datetime.now(UTC)).authority.certificate_pem
        yield Installation(state, ready[2], ready[4], json.loads(made.stdout)["token"], ca_pem, process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def peer(trust: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Runs the minimal stream; yields its address and its process."""
    command = [sys.executable, str(Path(__file__).with_name("content_peer.py")), str(trust), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().strip()}", process.pid
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


async def seconds(work: Callable[[], Awaitable[Any]]) -> float:
    """Returns how long it took."""
    begin = time.perf_counter()
    await work()
    return time.perf_counter() - begin


def people_wire(channel: grpc.aio.Channel) -> ContentWire:
    """Returns the content calls of the project."""
    stub = content_pb2_grpc.ContentServiceStub(channel)
    return ContentWire(stub, content_pb2, content_pb2.ProjectScope(project=PROJECT))


async def pieces(path: Path, *, limit: int) -> AsyncIterator[bytes]:
    """Yields the first bytes of a file in messages."""
    left = limit
    with path.open("rb") as file:
        while left > 0 and (data := await asyncio.to_thread(file.read, min(MESSAGE_BYTES, left))):
            left -= len(data)
            yield data


async def peer_get(channel: grpc.aio.Channel, path: Path) -> None:
    """Fetches what the peer keeps; hashes, writes and fsyncs it."""
    hasher = hashlib.sha256()

    def keep(data: bytes) -> None:
        file.write(data)
        hasher.update(data)

    with path.open("wb", buffering=0) as file:
        messages: Any = channel.unary_stream(GET)
        async for data in messages(b""):
            await asyncio.to_thread(keep, data)
        await asyncio.to_thread(os.fsync, file.fileno())


def made_file(path: Path, *, mib: int, seed: int) -> Path:
    """Writes bytes that nobody has seen."""
    block = hashlib.shake_256(str(seed).encode()).digest(1 << 20)
    with path.open("wb") as file:
        for number in range(mib):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


class Spent:
    """Seconds and processor seconds, of this process and the one it talks to, by name."""

    def __init__(self) -> None:
        self._took: dict[str, list[float]] = {}
        self._used: dict[str, list[float]] = {}

    async def on(self, name: str, work: Callable[[], Awaitable[Any]], *, pid: int) -> None:
        """Does the work and notes what it took."""
        used = time.process_time() + processor_s(pid)
        self._took.setdefault(name, []).append(await seconds(work))
        self._used.setdefault(name, []).append(time.process_time() + processor_s(pid) - used)

    def took_s(self, name: str) -> float:
        """Returns the median of the seconds."""
        return statistics.median(self._took[name])

    def used_s(self, name: str) -> float:
        """Returns the median of the processor seconds."""
        return statistics.median(self._used[name])


async def measure_blobs(
    world: Installation, peer_at: tuple[str, int], folder: Path, *, mib: int, rounds: int
) -> list[Row]:
    """Measures large blobs both ways, in turn with the peer."""
    spent, (address, peer_pid) = Spent(), peer_at
    options: list[tuple[str, int | str]] = [("grpc.max_receive_message_length", 4 << 20)]
    async with world.dial() as channel, dial(address, ca_pem=world.ca_pem, options=options) as other:
        peer_put: Any = other.stream_unary(PUT)
        wire = people_wire(channel)
        for number in range(rounds):
            path = made_file(folder / "source", mib=mib, seed=number)
            blob = blob_of_file(path)
            fetch = partial(download, wire, blob.digest, size_bytes=blob.size_bytes)
            up: list[tuple[str, Callable[[], Awaitable[Any]], int]] = [
                ("peer up", partial(peer_put, pieces(path, limit=mib << 20)), peer_pid),
                ("up", partial(upload, wire, [blob]), world.pid),
            ]
            down: list[tuple[str, Callable[[], Awaitable[Any]], int]] = [
                ("peer down", partial(peer_get, other, folder / "theirs"), peer_pid),
                ("down", partial(fetch, folder / "ours"), world.pid),
                ("down in one stream", partial(fetch, folder / "alone", streams=Streams(1)), world.pid),
            ]
            turn = 1 if number % 2 else -1  # who writes first finds memory free; the others wait for it
            for name, work, pid in [*up[::turn], *down[::turn]]:
                await spent.on(name, work, pid=pid)
            for left in (path, *(folder / name for name in ("theirs", "ours", "alone", f"kept-{number + 1}"))):
                left.unlink()
    rows = list[Row]()
    for way in ("up", "down"):
        share, goal = spent.took_s(f"peer {way}") / spent.took_s(way), GOALS[f"{way}_share"]
        rows += [
            Row(f"blob_{way}_mb_s", mib * 1.048576 / spent.took_s(way), "MB/s"),
            Row(f"peer_{way}_mb_s", mib * 1.048576 / spent.took_s(f"peer {way}"), "MB/s"),
            Row(f"{way}_share", share, "of the peer", f">= {goal}", share >= goal),
            Row(f"{way}_processor_share", spent.used_s(way) / spent.used_s(f"peer {way}"), "of the peer's seconds"),
        ]
    one = mib * 1.048576 / spent.took_s("down in one stream")
    return [*rows, Row("blob_down_in_one_stream_mb_s", one, "MB/s")]


async def measure_small(world: Installation) -> list[Row]:
    """Measures blobs of 20 kB in batches, as pictures of an import travel."""
    block = os.urandom(20_000)
    blobs = [blob_of_bytes(number.to_bytes(8, "big") + block) for number in range(SMALL_BLOBS)]
    async with world.dial() as channel:
        took = await seconds(lambda: upload(people_wire(channel), blobs))
    return [Row("small_blobs_s", SMALL_BLOBS / took, "blobs of 20 kB/s")]


async def measure_resume(world: Installation, folder: Path, *, mib: int) -> list[Row]:
    """Breaks a connection at half, begins again, and counts what travels twice."""
    path = made_file(folder / "source", mib=mib, seed=1_000)
    blob = blob_of_file(path)
    half = blob.size_bytes // 2

    async def until_half() -> AsyncIterator[bytes]:
        async for data in pieces(path, limit=half):
            yield data
        await asyncio.Event().wait()  # the end never comes: the connection is cut

    async with world.dial() as channel:
        wire = people_wire(channel)
        writing = asyncio.create_task(
            wire.write(blob.digest, size_bytes=blob.size_bytes, offset=0, chunks=until_half())
        )
        before = -1
        while before != (before := _arrived(world.state)) or before == 0:
            await asyncio.sleep(0.3)
        writing.cancel()
        await asyncio.wait([writing])
    async with world.dial() as channel:
        sent = await upload(people_wire(channel), [blob])
    share = max(0.0, half + sent - blob.size_bytes) / blob.size_bytes
    path.unlink()
    most = MOST["resume_resent_share"]
    return [Row("resume_resent_share", share, "of the blob", f"< {most}", share < most)]


def _arrived(state: Path) -> int:
    return sum(path.stat().st_size for path in (state / "blobs/writes").iterdir())


async def _enrolled(world: Installation, channel: grpc.aio.Channel) -> ClientCertificate:
    added = await admin_grpc.WorkerServiceStub(channel).AddWorker(admin_pb2.AddWorkerRequest(name="bench"))
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    request = enrollment_pb2.EnrollRequest(
        token=added.token, csr_pem=csr.public_bytes(serialization.Encoding.PEM), hostname="bench"
    )
    async with dial(world.people, ca_pem=world.ca_pem) as plain:
        told = await enrollment_pb2_grpc.EnrollmentServiceStub(plain).Enroll(request)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ClientCertificate(told.certificate_pem, private)


async def _leased(agents: grpc.aio.Channel, people: grpc.aio.Channel) -> worker_pb2.Grant:
    """Makes a task and takes it, as a worker does."""
    stub = agent_grpc.WorkerServiceStub(agents)
    capabilities = worker_pb2.Capabilities(cpus=2, memory_bytes=1 << 34, capabilities=["builtin:generate"], max_runs=1)
    session = await stub.Register(worker_pb2.RegisterRequest(boot_id="1", version="0.1.0", capabilities=capabilities))
    request = dataset_pb2.GenerateDatasetRequest(project=PROJECT, to="made", count=1)
    await dataset_pb2_grpc.DatasetServiceStub(people).GenerateDataset(request)
    for _ in range(20):
        poll = worker_pb2.PollRequest(session=session.session, max_leases=1)
        poll.wait.FromSeconds(5)
        if grants := (await stub.Poll(poll)).grants:
            return grants[0]
    raise RuntimeError("the controller grants nothing")


async def measure_logs(world: Installation) -> list[Row]:
    """Measures how many lines of a run reach the controller, and that they are the same there."""
    line = b"epoch 12 step 003400 loss 0.123456 lr 0.001000 images/s 812.5".ljust(LINE_BYTES - 1) + b"\n"
    whole = line * (LOG_BYTES // LINE_BYTES)
    async with world.dial() as people:
        certificate = await _enrolled(world, people)
        async with dial(world.agents, ca_pem=world.ca_pem, certificate=certificate) as agents:
            grant = await _leased(agents, people)
            stub = log_pb2_grpc.LogServiceStub(agents)

            async def batches() -> AsyncIterator[log_pb2.AppendRequest]:
                for offset in range(0, len(whole), BATCH_BYTES):
                    yield log_pb2.AppendRequest(
                        task_id=grant.task_id,
                        lease_epoch=grant.lease_epoch,
                        stream="out",
                        offset=offset,
                        data=whole[offset : offset + BATCH_BYTES],
                    )

            took = await seconds(lambda: stub.Append(batches()))
        request = task_pb2.ReadLogRequest(task_id=grant.task_id, offset=-LINE_BYTES)
        last = await task_pb2_grpc.TaskServiceStub(people).ReadLog(request)
    assert last.data == line
    assert last.size_bytes == len(whole)
    rate = len(whole) / LINE_BYTES / took
    goal = GOALS["log_lines_s"]
    return [Row("log_lines_s", rate, "lines of 80 bytes/s", f">= {goal:,.0f}", rate >= goal)]


async def measure(folder: Path, *, mib: int = 512, rounds: int = 4) -> list[Row]:
    """Returns all rows of this area."""
    with installation(folder) as world, peer(world.state / "trust", folder) as peer_at:
        return [
            *await measure_blobs(world, peer_at, folder, mib=mib, rounds=rounds),
            *await measure_small(world),
            *await measure_resume(world, folder, mib=mib),
            *await measure_logs(world),
        ]


def main() -> int:
    """Measures, prints, and returns 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the large blob")
    parser.add_argument("--rounds", type=int, default=4, help="an even number is fair: the order turns")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lode-bench-"))
    try:
        rows = asyncio.run(measure(folder, mib=chosen.mib, rounds=chosen.rounds))
    finally:
        shutil.rmtree(folder)
    for row in rows:
        print(f"{row.name:29} {row.value:14,.3f} {row.unit:22} {row.goal:12} {'' if row.met else 'MISSED'}")
    print(json.dumps({row.name: round(row.value, 4) for row in rows}))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
