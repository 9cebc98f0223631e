"""A real device agent as processes, enrolled with a real controller."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asking
from controller_world import Installation, installation
from lodeworks.channel.pinning import fingerprint
from lodeworks.profile import Profile
from lodeworks.resources.client import AsyncClient
from lodeworks.resources.device import AsyncDevice
from lodeworks.resources.project import AsyncProject
from lodeworks_formats.package import pack
from sound_package import picture

_LODE_DEVICE = [sys.executable, "-m", "lodeworks_device.main"]


@dataclass
class MadeDevice:
    """One device: its state folder, and its agent while that runs."""

    state: Path
    agent: "subprocess.Popen[bytes] | None" = None
    starts: int = 0

    def command(self, *arguments: str, timeout_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*_LODE_DEVICE, *arguments, "--state", str(self.state)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, *options: str) -> None:
        """Starts the agent."""
        self.starts += 1
        self.state.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.agent = subprocess.Popen(
                [*_LODE_DEVICE, "run", "--state", str(self.state), *options], stdout=output, stderr=output
            )

    def kill(self) -> None:
        """Kills the agent as a power cut would, and nothing else."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def stop(self) -> int:
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        return self.agent.wait(30)

    def shut_down(self) -> None:
        done = self.command("shutdown")
        assert done.returncode == 0, done.stderr
        if self.agent is not None:
            self.agent.wait(30)

    @property
    def log(self) -> Path:
        return self.state.with_name(f"{self.state.name}.log")

    @property
    def address(self) -> str:
        """Where the front answers, host:port."""
        return (self.state / "serving" / "address").read_text()

    @property
    def memory_bytes(self) -> int:
        """What the agent holds in memory."""
        assert self.agent is not None
        pages = int(Path(f"/proc/{self.agent.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class DeviceWorld:
    """A controller, a person who asks it, and devices."""

    folder: Path
    installed: Installation
    client: AsyncClient
    project: AsyncProject
    devices: list[MadeDevice] = field(default_factory=list)

    async def enrolled(self, name: str = "gate-1") -> MadeDevice:
        """Adds a device and enrols it by its own command."""
        made = MadeDevice(self.folder / f"device-{name}")
        self.devices.append(made)
        added = await self.project.devices.add(name)
        ca = fingerprint(self.installed.ca_pem)
        arguments = ["enroll", self.installed.people, "--ca", ca, "--token", added.token]
        done = await asyncio.to_thread(made.command, *arguments)
        assert done.returncode == 0, done.stderr
        return made

    async def running(self, name: str = "gate-1") -> MadeDevice:
        """Returns a device whose agent runs and has said what it can do."""
        made = await self.enrolled(name)
        made.start()
        device = await self.device(name)
        await until(lambda: device.data.reported_json, look=device.refresh, log=made.log)
        return made

    async def device(self, name: str = "gate-1") -> AsyncDevice:
        return await self.project.devices.get(name)

    async def release(self, package: Path, *, name: str = "cells") -> str:
        """Registers a package folder as the next release; returns its full name."""
        tar = self.folder / f"{package.name}-{time.monotonic_ns()}.tar"
        await asyncio.to_thread(pack, package, tar)
        return (await self.project.algorithms.add(name, [tar])).name

    async def deploy(self, release: str, name: str = "gate-1", *, limit_s: float = 60.0) -> AsyncDevice:
        """Brings a release onto a device; raises LodeError when the device refuses it."""
        deployment = await self.project.devices.deploy(release, [name])
        async with asyncio.timeout(limit_s):
            return (await deployment.result())[0]


async def until(condition, *, look=None, log=None, limit_s=60.0):
    """Waits until a condition holds; `look` is awaited before each try."""
    deadline = time.monotonic() + limit_s
    while True:
        if look is not None:
            await look()
        if condition():
            return
        assert time.monotonic() < deadline, f"it did not come about; {log.read_text()[-3000:] if log else ''}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def device_world(folder: Path) -> AsyncIterator[DeviceWorld]:
    """Opens an installation; at its end no process of its devices is left."""
    async with installation(folder / "controller") as installed:
        profile = Profile("test", installed.people, ca_pem=installed.ca_pem.decode(), token=installed.token)
        async with AsyncClient(profile) as client:
            world = DeviceWorld(folder, installed, client, await client.projects.get("default"))
            try:
                yield world
            finally:
                for device in world.devices:
                    await asyncio.to_thread(device.shut_down)


@contextmanager
def client_asking(device: MadeDevice, *, algorithm: str = "cells") -> Iterator[Path]:
    """Runs a client that asks every 50 ms while the block runs; yields where `asking.read` finds what it saw."""
    out = device.state.with_name("asked.jsonl")
    shown = device.state.with_name("asked.png")
    shown.write_bytes(picture())
    command = [sys.executable, asking.__file__, device.address, algorithm, str(shown), str(out)]
    process = subprocess.Popen(command)
    try:
        yield out
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
