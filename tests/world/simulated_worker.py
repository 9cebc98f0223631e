"""A worker's machine of the simulated installation: real worker processes on it, and the runs that outlive them."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from lodeworks_worker.blob_transfer import GrpcBlobTransfer
from lodeworks_worker.config import Config
from lodeworks_worker.control_plane import Fingerprint, Gpu, Health
from lodeworks_worker.drivers.fake import FakeDriver, FakeScript
from lodeworks_worker.errors import WorkerError
from lodeworks_worker.executors import Executors
from lodeworks_worker.wire import GrpcControlPlane
from lodeworks_worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lodeworks_worker.drivers.base import Launch
    from simulated_loop import Party, SimulatedLoop
    from simulated_network import SimulatedChannel

_TICK_S = 0.2
_MARK = "fake.json"


@dataclass(slots=True)
class Machine:
    """A machine with GPUs and a disk. Its runs go on while worker processes come and go.

    `skew_s` is how far its clock is off.
    """

    name: str
    worker_id: str
    folder: Path
    gpus: tuple[str, ...]
    max_runs: int
    script: Callable[[str, int], FakeScript]
    say: Callable[[str], None]
    loop: SimulatedLoop
    skew_s: float = 0.0
    started: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    party: Party | None = None
    ended: str = ""
    lives: int = 0

    def clock(self) -> float:
        """Returns this machine's wall time in seconds."""
        return 1_700_000_000.0 + self.loop.time() + self.skew_s

    def steady(self) -> float:
        """Returns the time that programs measure by: nobody sets it."""
        return self.loop.time()

    @property
    def runs(self) -> Path:
        """The folder of the runs."""
        return self.folder / "runs"

    def begin(self, launch: Launch) -> FakeScript:
        """Answers a driver that starts a run: two runs that live may not have the same GPU."""
        key = (launch.task_id, launch.lease_epoch)
        for other, held in self.started.items():
            if other != key and set(held) & set(launch.gpus) and self.alive(*other):
                self.violations.append(f"{launch.name} starts on {self.name} with a gpu of {other[0]}-{other[1]}")
        if key in self.started:
            self.violations.append(f"{launch.name} is started twice on {self.name}")
        self.started[key] = launch.gpus
        self.say(f"{self.name} starts {launch.name} {' '.join(launch.gpus)}".rstrip())
        return self.script(*key)

    def alive(self, task_id: str, lease_epoch: int) -> bool:
        """Says whether a run is going on here."""
        mark = self.runs / f"{task_id}-{lease_epoch}" / _MARK
        try:
            told = json.loads(mark.read_text())
        except FileNotFoundError:
            return False
        return "removed" not in told and self.steady() < float(told["ends_at"])

    def reboot(self) -> None:
        """Ends every run here without an exit, as a machine does that loses its power."""
        for mark in self.runs.glob(f"*/{_MARK}"):
            told = json.loads(mark.read_text())
            if self.steady() < float(told["ends_at"]):
                mark.write_text(json.dumps({**told, "ends_at": self.steady(), "dies_silently": True}))


class HastyDriver(FakeDriver):
    """The fake driver, which looks up less often than in real time."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(
            machine.runs, script=machine.begin, clock=machine.steady, sleep=lambda _: asyncio.sleep(_TICK_S)
        )


async def _look_round(machine: Machine, _config: Config, _drivers: Any) -> tuple[Fingerprint, Executors, list[Any]]:
    told = Fingerprint(
        gpus=tuple(Gpu(uuid) for uuid in machine.gpus),
        capabilities=("builtin:made", "driver:fake"),
        max_runs=machine.max_runs,
    )
    return told, Executors(programs={}, everything="fake"), []


async def live(machine: Machine, channel: SimulatedChannel, *, number: int, chance: Callable[[], float]) -> None:
    """One life of a worker process on a machine."""
    numbers = iter(range(1 << 30))
    worker = Worker(
        Config(
            state=machine.folder,
            max_runs=machine.max_runs,
            cache_bytes=1 << 24,
            drivers=("fake",),
            fake_gpus=tuple(Gpu(uuid) for uuid in machine.gpus),
        ),
        worker_id=machine.worker_id,
        control=GrpcControlPlane(cast("Any", channel), hostname=machine.name, explain=_unexplained),
        transfer=GrpcBlobTransfer(cast("Any", channel)),
        drivers={"fake": HastyDriver(machine)},
        log=logging.getLogger("simulated.worker"),
        clock=machine.clock,
        ids=lambda: f"{machine.name}-{number}-{next(numbers)}",
        chance=chance,
        look_round=partial(_look_round, machine),
    )
    try:
        await worker.run()
    except WorkerError as error:
        machine.ended = f"{type(error).__name__}: {error}"
        machine.say(f"the worker on {machine.name} ends: {machine.ended}")


async def _unexplained(_error: object) -> None:
    return None


def no_health(_folder: Path) -> Health:
    """Asks no real machine how it is."""
    return Health()
