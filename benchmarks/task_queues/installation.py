"""An installation of its own for a benchmark: its state, its controller's process, its keys."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.wrappers_pb2 import StringValue
from lodeworks.agent.worker.v1 import enrollment_pb2, enrollment_pb2_grpc
from lodeworks.api.worker.v1 import worker_pb2, worker_pb2_grpc
from lodeworks.channel.dial import ClientCertificate, dial
from lodeworks.channel.keepalive import PROMPT_OPTIONS
from lodeworks.channel.pinning import fetch_authority

SERVER = Path(__file__).with_name("server.py")
READY_S = 60.0


@dataclass(slots=True)
class Installation:
    """A controller in a process of its own.

    Attributes:
        folder: Where its state lies.
        configuration: Lines of its configuration file.
    """

    folder: Path
    configuration: Sequence[str] = ()
    token: str = ""
    ca_fingerprint: str = ""
    ca_pem: bytes = b""
    people_port: int = 0
    agents_port: int = 0
    process: subprocess.Popen[bytes] | None = None
    arguments: list[str] = field(default_factory=list)

    def make(self) -> None:
        """Makes trust, schema, administrator and project."""
        program = str(Path(sys.executable).with_name("lode-controller"))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(f"{line}\n" for line in self.configuration))
        command = [program, "init", "--json", "--state", str(self.state), "--config", str(self._file)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(f"no installation was made: {made.stderr}")
        answer = json.loads(made.stdout)
        self.token, self.ca_fingerprint = answer["token"], answer["ca_fingerprint"]

    @property
    def state(self) -> Path:
        """Where the controller keeps everything."""
        return self.folder / "state"

    @property
    def _file(self) -> Path:
        return self.folder / "controller.toml"

    @property
    def pid(self) -> int:
        """The controller's process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Starts the controller and waits until it serves; keeps its ports from one start to the next."""
        command = [sys.executable, str(SERVER), "--state", str(self.state), "--config", str(self._file)]
        command += ["--port", str(self.people_port), *self.arguments]
        path = self.folder / "controller.log"
        with path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the controller did not start; see {path}")
        told = json.loads(line)
        self.people_port, self.agents_port = told["people"], told["agents"]
        self.ca_pem = self.ca_pem or fetch_authority(f"127.0.0.1:{self.people_port}", pinned=self.ca_fingerprint)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends the controller."""
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.wait(30)
            assert self.process.stdout is not None
            self.process.stdout.close()

    def person(self) -> grpc.aio.Channel:
        """Returns a channel of the administrator."""
        return dial(f"127.0.0.1:{self.people_port}", ca_pem=self.ca_pem, token=self.token)

    def agent(self, certificate: ClientCertificate) -> grpc.aio.Channel:
        """Returns a channel of a worker."""
        target = f"127.0.0.1:{self.agents_port}"
        return dial(target, ca_pem=self.ca_pem, certificate=certificate, options=PROMPT_OPTIONS)

    async def enrol(self, name: str, channel: grpc.aio.Channel) -> tuple[str, ClientCertificate]:
        """Enrols a worker; returns its id and certificate."""
        added = await worker_pb2_grpc.WorkerServiceStub(channel).AddWorker(worker_pb2.AddWorkerRequest(name=name))
        key, csr = _signing_request()
        enrolled = await enrollment_pb2_grpc.EnrollmentServiceStub(channel).Enroll(
            enrollment_pb2.EnrollRequest(token=added.token, csr_pem=csr)
        )
        return enrolled.worker_id, ClientCertificate(enrolled.certificate_pem, key)

    def queue(self, channel: grpc.aio.Channel) -> "Queue":
        """Returns the benchmark's own rpcs."""
        return Queue(channel)


class Queue:
    """The two rpcs that the benchmark's controller has beside its own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def method(name: str) -> Any:
            return channel.unary_unary(
                f"/lodeworks.benchmark.Queue/{name}",
                request_serializer=StringValue.SerializeToString,
                response_deserializer=StringValue.FromString,
            )

        self._submit, self._count = method("Submit"), method("Count")

    async def submit(self, request_id: str) -> str:
        """Submits one task that does nothing; returns its id."""
        return str((await self._submit(StringValue(value=request_id))).value)

    async def counts(self) -> dict[str, int]:
        """Returns how many tasks are in each state."""
        return dict(json.loads((await self._count(StringValue())).value))

    async def settled(self, number: int, *, within_s: float) -> None:
        """Waits until so many tasks have succeeded."""
        deadline = time.monotonic() + within_s
        while (counts := await self.counts()).get("succeeded", 0) < number:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{number} tasks were not done within {within_s:.0f} s: {counts}")
            await asyncio.sleep(0.05)


def _signing_request() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, csr.public_bytes(serialization.Encoding.PEM)


def scratch(name: str) -> Path:
    """Returns a fresh folder."""
    return Path(tempfile.mkdtemp(prefix=f"lodeworks-{name}-"))
