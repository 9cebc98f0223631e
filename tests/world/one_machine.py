"""One machine and one controller in memory: workers come and go on it."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager, suppress

from lodeworks_worker.cache import Cache
from lodeworks_worker.control_plane import Fingerprint, Health
from lodeworks_worker.drivers.fake import FakeDriver, FakeScript
from lodeworks_worker.executors import Executors
from lodeworks_worker.grant import Grant, OutputSlot, RunSpec
from lodeworks_worker.held_run import Kit
from lodeworks_worker.journal import Journal
from lodeworks_worker.runs import Runs
from lodeworks_worker.session import Conversation, OpenSession
from made_controller import MadeController
from worker_world import DictionaryTransfer

RESULT = json.dumps({"map": 0.5, "model": ["best.pt"]})
TRAINED = {"models/result.yaml": RESULT, "models/best.pt": "weights"}
SLOTS = (OutputSlot("result", required=True), OutputSlot("stage/*", required=True))


class OneMachine:
    """One machine and one controller; workers come and go on it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.control = MadeController()
        self.transfer = DictionaryTransfer()
        self.scripts: dict[str, FakeScript] = {}
        self.starts: list[str] = []
        self.numbers = iter(range(1 << 30))
        self.driver = lambda: FakeDriver(folder / "runs", script=self.script)

    def script(self, launch):
        self.starts.append(launch.name)
        return self.scripts.get(launch.task_id, FakeScript())

    def grant(self, task_id="t1", epoch=1, *, script=None, inputs=(), **run):
        spec = RunSpec(executor="executor:detector", operations=("train",), outputs=SLOTS, inputs=inputs, **run)
        self.scripts[task_id] = script or FakeScript(outputs=TRAINED, log_lines=("one", "two"))
        grant = Grant(task_id, epoch, spec)
        self.control.waiting.append(grant)
        return grant

    @asynccontextmanager
    async def worker(self, *, max_runs=2):
        """Runs a worker; leaving lets go of it as kill -9 does: nothing is said, nothing is stopped."""
        log = logging.getLogger("test.worker")
        cache = Cache(self.folder / "cache", limit_bytes=1 << 30)
        await cache.open()
        journal = Journal(self.folder / "journal.db")
        opened, nudge = OpenSession(), asyncio.Event()
        kit = Kit(
            runs_folder=self.folder / "runs",
            journal=journal,
            cache=cache,
            transfer=self.transfer,
            control=self.control,
            drivers={"fake": self.driver()},
            executors=Executors(programs={}, everything="fake"),
            session=opened.id,
            changed=nudge.set,
            clock=asyncio.get_running_loop().time,
            ids=lambda: f"id-{next(self.numbers)}",
            log=log,
        )
        runs = Runs(kit, max_runs=max_runs, gpus=[])
        conversation = Conversation(
            self.control,
            runs,
            boot_id=f"boot-{next(self.numbers)}",
            fingerprint=Fingerprint(max_runs=max_runs),
            session=opened,
            nudge=nudge,
            health=Health,
            chance=lambda: 0.5,
            log=log,
        )
        await runs.recover()
        holding = asyncio.ensure_future(conversation.hold())
        try:
            yield holding, runs
        finally:
            holding.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await holding
            await runs.close()
            await journal.close()

    async def outcome(self, task_id="t1", epoch=1):
        async with asyncio.timeout(20):
            while (task_id, epoch) not in self.control.outcomes:  # noqa: ASYNC110 - a condition with a limit
                await asyncio.sleep(0.005)
        return self.control.outcomes[task_id, epoch]

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - a condition with a limit
                await asyncio.sleep(0.005)

    async def more_polls(self, count=3):
        """Waits until the controller has answered so many more polls: what it had to say has been heard."""
        wanted = self.control.polls + count
        await self.until(lambda: self.control.polls >= wanted)

    async def more_turned_away(self, count=2):
        """Waits until so many more calls have failed."""
        wanted = self.control.turned_away + count
        await self.until(lambda: self.control.turned_away >= wanted)
