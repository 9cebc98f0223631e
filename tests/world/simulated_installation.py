"""A whole simulated installation: controllers, workers and people on one clock, and faults by name.

Everything random comes from the seed; the same seed is the same history, to the last message.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from lodeworks_controller.config import Config
from lodeworks_controller.domain.identity import InstallationRole, Principal
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.project import ObjectType, Project, ProjectState
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.run import Limits, Resources
from lodeworks_controller.domain.task.task import NewTask
from lodeworks_controller.domain.worker import Worker
from lodeworks_controller.errors import LodeworksError
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_worker.drivers.fake import FakeScript
from simulated_controller import RESULT, SimulatedController
from simulated_database import SimulatedDisk
from simulated_loop import SimulatedLoop
from simulated_network import Services, SimulatedChannel, SimulatedNetwork, Weather
from simulated_worker import Machine, live

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

ADMIN = Principal("u" * 26, "ada", InstallationRole.ADMINISTRATOR)
PROJECT = "p" * 26
TERMS = replace(LeaseTerms(), poll_wait_s=6.0, report_interval_s=2.0, ttl_s=7.0, resend_after_s=1.0)
LOST_AFTER_S = 8.0
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_ANSWER_S = 6.0
_SETTLED_S = 400.0


@dataclass(frozen=True, slots=True)
class Wish:
    """A task that somebody wants, and how its runs go; `exits` and `dies` by attempt, the last for all others."""

    label: str
    run_for_s: float = 1.0
    lines: int = 5
    exits: tuple[int, ...] = (0,)
    dies: tuple[bool, ...] = (False,)
    refuses: tuple[bool, ...] = (False,)
    ignores_term: bool = False
    gpus: int = 0
    priority: int = 0
    parents: tuple[str, ...] = ()
    user_retries: int = 0
    infrastructure_retries: int = 4
    spec: tuple[tuple[str, float], ...] = ()
    run_timeout_s: float = 0.0
    lost_after_s: float = LOST_AFTER_S
    repeats: int = 1

    def script(self, attempt: int, *, salt: str) -> FakeScript:
        """Returns what the run of an attempt does."""

        def of(values: tuple[Any, ...]) -> Any:
            return values[min(attempt, len(values)) - 1]

        return FakeScript(
            run_for_s=self.run_for_s,
            code=of(self.exits),
            log_lines=tuple(self.expected_lines(attempt)),
            line_every_s=self.run_for_s / (self.lines + 1),
            outputs={f"lode/{RESULT}": self.result(attempt, salt=salt)},
            dies_silently=of(self.dies),
            refuses="no room" if of(self.refuses) else None,
            ignores_term=self.ignores_term,
        )

    def expected_lines(self, attempt: int) -> Iterator[str]:
        """Returns the lines that the run of an epoch says."""
        return (f"{self.label} {attempt} line {number}" for number in range(self.lines))

    def result(self, attempt: int, *, salt: str) -> str:
        """Returns what the run of an epoch leaves; the salt makes it new to a store that outlives the schedule."""
        return f"result of {self.label} by attempt {attempt} {salt}"


@dataclass(slots=True)
class Seat:
    """A place where a controller process runs, or ran."""

    name: str
    controller: SimulatedController | None = None
    lives: int = 0


class Voices(logging.Handler):
    """Collects what the programs log as errors with a traceback: nobody expected that."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._say = say
        self.unexpected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one record."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
            if not isinstance(record.exc_info[1], LodeworksError):
                self.unexpected.append(text)
        self._say(f"log: {text}")


@dataclass(slots=True)
class Plan:
    """How large an installation is."""

    controllers: int = 1
    machines: int = 2
    gpus: int = 1
    max_runs: int = 2


@dataclass(eq=False)
class Installation:
    """Controllers on one disk, machines with workers, a network, people."""

    seed: int
    folder: Path
    plan: Plan = field(default_factory=Plan)
    loop: SimulatedLoop = field(init=False)

    def __post_init__(self) -> None:
        random.seed(self.seed)
        self.chance = random.Random(self.seed)
        self.trace: list[tuple[float, str]] = []
        self.loop = SimulatedLoop()
        self.network = SimulatedNetwork(self.loop, seed=self.seed, say=self.say)
        disk_chance = random.Random(self.seed + 1)
        self.disk = SimulatedDisk(self.loop, delay=lambda: disk_chance.uniform(0.0002, 0.004))
        self.skew_s = 0.0
        self.seats = [Seat(f"c{number}") for number in range(self.plan.controllers)]
        self.machines: dict[str, Machine] = {}
        self.rivals: list[Machine] = []
        self.wishes: dict[str, Wish] = {}
        self.task_ids: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.epochs: dict[tuple[str, int], int] = {}
        self.numbers = random.Random(self.seed + 2)
        self.ids = ulids(self.now, self.numbers.randbytes)
        self.voices = Voices(self.say)
        # The content outlives a schedule: it is named by what it is, and 256 folders need not be made each time.
        self.blobs_folder = self.folder.parent / "blobs"
        self.salt = secrets.token_hex(8)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    # --- time and words

    def now(self) -> datetime:
        """Returns the database's clock."""
        return _BEGIN + timedelta(seconds=self.loop.time() + self.skew_s)

    def say(self, what: str) -> None:
        """Notes something for the trace."""
        self.trace.append((self.loop.time() - 1_000.0, what))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hears what the programs log."""
        loggers = [logging.getLogger(name) for name in ("lodeworks_controller", "simulated")]
        before = [(one.level, one.propagate) for one in loggers]
        for one in loggers:
            one.addHandler(self.voices)
            one.setLevel(logging.ERROR)
            one.propagate = False
        try:
            yield
        finally:
            for one, (level, propagate) in zip(loggers, before, strict=True):
                one.removeHandler(self.voices)
                one.setLevel(level)
                one.propagate = propagate

    # --- making it

    async def set_up(self) -> None:
        """Makes a project and the workers, and starts everything."""
        store = self.disk.open(None, clock=self.now, ids=self.ids)
        project = Project(PROJECT, "default", ObjectType.DETECTION, ProjectState.ACTIVE, 0, ADMIN.user_id, self.now())
        async with store.transaction() as tx:
            await tx.projects.add(project)
            for number in range(self.plan.machines):
                name = f"m{number}"
                worker_id = self.ids()
                await tx.workers.insert(Worker(worker_id, name, self.now()))
                self.add_machine(name, worker_id, gpus=self.plan.gpus)
        for seat in self.seats:
            self.start_controller(seat.name)
        for name in list(self.machines):
            self.start_worker(name)

    def add_machine(self, name: str, worker_id: str, *, gpus: int) -> Machine:
        """Adds a machine; a second one with the same worker id is a copy of the first one's identity."""
        made = Machine(
            name=name,
            worker_id=worker_id,
            folder=self.folder / name,
            gpus=tuple(f"GPU-{number}" for number in range(gpus)),
            max_runs=self.plan.max_runs,
            script=self.script,
            say=self.say,
            loop=self.loop,
        )
        made.runs.mkdir(parents=True)
        self.machines[name] = made
        return made

    def add_rival(self, name: str) -> str:
        """Starts a second worker with a machine's identity on a copy of it, as of a restored backup."""
        original = self.machines[name]
        rival = f"{name}x{len(self.rivals)}"
        self.rivals.append(self.add_machine(rival, original.worker_id, gpus=len(original.gpus)))
        self.start_worker(rival)
        return rival

    def remove_rival(self, name: str) -> None:
        """Ends a rival and its machine."""
        self.kill(name)
        self.machines.pop(name, None)

    @property
    def everything(self) -> list[Machine]:
        """Every machine, those that are gone too."""
        gone = [rival for rival in self.rivals if rival.name not in self.machines]
        return [*self.machines.values(), *gone]

    def script(self, task_id: str, lease_epoch: int) -> FakeScript:
        """Returns what the run of a lease does."""
        return self.wishes[self.labels[task_id]].script(lease_epoch, salt=self.salt)

    # --- processes by name

    def start_controller(self, name: str) -> None:
        """Starts a controller process, if none runs there."""
        seat = self.seat(name)
        if seat.controller is not None and not seat.controller.party.dead:
            return
        seat.lives += 1
        party = self.loop.party(f"{name}.{seat.lives}")
        party.on_death.append(lambda: self.network.hang_up(party))
        state = self.folder / "state"
        numbers = random.Random(f"{self.seed} {name} {seat.lives}")
        ids = ulids(self.now, numbers.randbytes)

        def make() -> SimulatedController:
            return SimulatedController(
                party,
                name,
                config=Config(state=state),
                store=self.disk.open(party, clock=self.now, ids=ids),
                blobs=self._blobs(ids),
                clock=self.now,
                ids=ids,
                chance=numbers.random,
                terms=TERMS,
            )

        seat.controller = party.context.run(make)
        self.loop.begin(party, seat.controller.live(), name=name)
        self.say(f"{name} starts")

    def _blobs(self, ids: Callable[[], str]) -> DiskBlobStore:
        if not self.blobs_folder.exists():
            DiskBlobStore(self.blobs_folder, ids=ulids(self.now)).open()  # with ids of its own: only the first needs it
        return DiskBlobStore(self.blobs_folder, ids=ids)

    def start_worker(self, name: str) -> None:
        """Starts the worker process of a machine, if none runs there."""
        machine = self.machines[name]
        if machine.party is not None and not machine.party.dead and not machine.ended:
            return
        if machine.party is not None:
            self.loop.kill(machine.party)
        machine.ended = ""
        machine.lives += 1
        party = machine.party = self.loop.party(f"{name}.{machine.lives}")
        party.on_death.append(lambda: self.network.hang_up(party))
        numbers = random.Random(f"{self.seed} {name} {machine.lives}")
        channel = SimulatedChannel(self.network, self._servers, name, machine.worker_id, numbers.randrange(2))
        self.loop.begin(party, live(machine, channel, number=machine.lives, chance=numbers.random), name=name)
        self.say(f"worker {name} starts")

    def _servers(self) -> list[Services | None]:
        return [None if seat.controller is None else seat.controller.services for seat in self.seats]

    def kill(self, name: str) -> None:
        """Ends a process by SIGKILL."""
        if name not in self.names:
            return
        party = self.party(name)
        if party is not None and not party.dead:
            self.say(f"{name} is killed")
            self.loop.kill(party)

    def freeze(self, name: str) -> None:
        """Stops a process by SIGSTOP."""
        party = self.party(name)
        if party is not None and not party.dead:
            self.say(f"{name} freezes")
            party.frozen = True

    def thaw(self, name: str) -> None:
        """Lets it go on."""
        party = self.party(name)
        if party is not None and party.frozen:
            self.say(f"{name} thaws")
            self.loop.thaw(party)

    def start(self, name: str) -> None:
        """Starts the process of that name, if it does not run."""
        if name not in self.names:
            return
        if name in self.machines:
            self.start_worker(name)
        else:
            self.start_controller(name)

    def seat(self, name: str) -> Seat:
        """Returns the place of a controller."""
        return next(seat for seat in self.seats if seat.name == name)

    def party(self, name: str) -> Any:
        """Returns the newest process of that name, or None."""
        if name in self.machines:
            return self.machines[name].party
        controller = self.seat(name).controller
        return None if controller is None else controller.party

    @property
    def names(self) -> list[str]:
        """Every process."""
        return [seat.name for seat in self.seats] + list(self.machines)

    # --- people

    async def ask(self, what: Callable[[SimulatedController], Awaitable[T]]) -> T | LodeworksError | None:
        """Asks the controllers in turn, as a client that knows them all; None when nobody answered."""
        for seat in sorted(self.seats, key=lambda _: self.chance.random()):
            controller = seat.controller
            if controller is None or controller.party.dead:
                continue
            asked = self.loop.begin(controller.party, _answer(what, controller))
            await asyncio.wait({asked}, timeout=_ANSWER_S)
            if asked.done():
                return asked.result()  # type: ignore[no-any-return]
        return None

    async def submit(self, wish: Wish) -> str | None:
        """Wishes for a task, as often as the wish says and with one request id; returns the task's id."""
        parents = [self.task_ids[label] for label in wish.parents if label in self.task_ids]
        if len(parents) != len(wish.parents):
            return None
        self.wishes[wish.label] = wish
        new = NewTask(
            "made",
            PROJECT,
            wish.label,
            dict(wish.spec),
            depends_on=tuple(parents),
            requires=frozenset({"builtin:made"}),
            resources=Resources(gpus=wish.gpus),
            limits=Limits(stop_grace_s=2.0, run_timeout_s=wish.run_timeout_s),
            priority=wish.priority,
            infrastructure_retries=wish.infrastructure_retries,
            user_retries=wish.user_retries,
            lost_after_s=wish.lost_after_s,
        )

        async def submit(controller: SimulatedController) -> str:
            once = Once(ADMIN.actor, "made.submit", wish.label)
            async with controller.store.transaction() as tx:
                made = await once.result(tx)
                if made is None:
                    made = (await controller.engine.tasks.submit(tx, new)).id
                    await once.keep(tx, made)
                self.labels[made] = wish.label
                return made

        for _ in range(wish.repeats):
            told = await self.ask(submit)
            if isinstance(told, str):
                self.task_ids[wish.label] = told
                self.say(f"{wish.label} is submitted: {told}")
        return self.task_ids.get(wish.label)

    async def cancel(self, label: str) -> None:
        """Cancels a task."""
        await self._of_task(label, "cancel")

    async def retry(self, label: str) -> None:
        """Queues an ended task again."""
        await self._of_task(label, "retry")

    async def _of_task(self, label: str, verb: str) -> None:
        task_id = self.task_ids.get(label)
        if task_id is None:
            return
        request_id = f"{verb} {label} {self.chance.random()}"

        async def do(controller: SimulatedController) -> None:
            await getattr(controller.engine.tasks, verb)(ADMIN, task_id, request_id=request_id)

        self.say(f"somebody asks to {verb} {label}")
        told = await self.ask(do)
        if isinstance(told, LodeworksError):
            self.say(f"{verb} {label}: {told.message}")

    # --- the end

    def heal(self) -> None:
        """Ends every fault: the network is calm, everybody runs, the clocks agree."""
        self.say("all faults end")
        for rival in self.rivals:
            self.remove_rival(rival.name)
        self.network.weather.clear()
        self.network.calm = Weather()
        self.network.walls.clear()
        for name in self.names:
            self.thaw(name)
            self.start(name)
        for machine in self.machines.values():
            machine.skew_s = 0.0

    def supervise(self) -> None:
        """Starts workers that ended by themselves, as one that was superseded, again."""
        for name in self.machines:
            self.start_worker(name)

    def states(self) -> dict[str, str]:
        """Returns the state of each task by label."""
        return {
            self.labels.get(task_id, task_id): state
            for task_id, state in self.disk.query("SELECT id, state FROM tasks ORDER BY id")
        }

    def left_behind(self) -> list[str]:
        """Returns what machines still have of runs: nothing, when every task is over."""
        return [
            f"{machine.name} still has {sorted(folder.name for folder in machine.runs.iterdir())}"
            for machine in self.machines.values()
            if any(machine.runs.iterdir())
        ]

    def tell_history(self) -> None:
        """Adds what the database remembers to the trace."""
        for task_id, before, after, epoch, owner in self.disk.query(
            "SELECT task_id, before, after, epoch_after, owner FROM history ORDER BY n"
        ):
            self.say(f"history: {self.labels.get(task_id, task_id)} {before} -> {after}, epoch {epoch} {owner[-4:]}")

    async def settle(self) -> bool:
        """Waits until every task has ended; says whether they have."""
        deadline = self.loop.time() + _SETTLED_S
        while self.loop.time() < deadline:
            if all(state in {"succeeded", "failed", "cancelled"} for state in self.states().values()):
                return True
            await asyncio.sleep(2.0)
            self.supervise()
        return False


async def _answer(
    what: Callable[[SimulatedController], Awaitable[T]], controller: SimulatedController
) -> T | LodeworksError:
    try:
        return await what(controller)
    except LodeworksError as error:
        return error
