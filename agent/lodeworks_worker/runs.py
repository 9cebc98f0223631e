"""The runs that this worker holds, each driven by a task of its own."""

import asyncio
import shutil
import sqlite3
from collections.abc import Sequence

from lodeworks_worker.control_plane import Held, LeaseReport
from lodeworks_worker.errors import WorkerError
from lodeworks_worker.grant import Grant
from lodeworks_worker.held_run import HeldRun, Kit
from lodeworks_worker.journal import Entry, RunPhase
from lodeworks_worker.outcome import FailureReason
from lodeworks_worker.putting_down import in_thread, put_down

_Key = tuple[str, int]
_REMEMBERED = 4096


class Runs:
    """Starts, finds and ends runs. `gpus` are all that the machine has."""

    def __init__(self, kit: Kit, *, max_runs: int, gpus: Sequence[str]) -> None:
        self._kit = kit
        self._max_runs = max_runs
        self._gpus = tuple(gpus)
        self._runs: dict[_Key, HeldRun] = {}
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._over: dict[_Key, None] = {}

    async def recover(self) -> None:
        """Takes up what the journal holds, and clears away what it does not: folders and runs without an entry."""
        entries = await self._kit.journal.entries()
        known = {(entry.grant.task_id, entry.grant.lease_epoch) for entry in entries}
        for driver in self._kit.drivers.values():
            try:
                strays = [one for one in await driver.found() if (one.task_id, one.lease_epoch) not in known]
                for stray in strays:
                    self._kit.log.warning("run %s-%s has no entry; ending it", stray.task_id, stray.lease_epoch)
                    await driver.remove(stray)
            except WorkerError as error:
                self._kit.log.warning("strays are left for later: %s", error)
        await in_thread(self._sweep, {entry.grant.name for entry in entries})
        for entry in entries:
            self._kit.log.info("run %s is taken up, %s", entry.grant.name, entry.phase.value)
            self._begin(entry)

    def held(self) -> list[Held]:
        """Lists the runs for Register."""
        return [
            Held(run.grant.task_id, run.grant.lease_epoch, finished=run.phase in {RunPhase.EXITED, RunPhase.SETTLED})
            for run in self._runs.values()
        ]

    def reports(self) -> list[LeaseReport]:
        """Lists the runs for Report."""
        return [run.report() for run in self._runs.values()]

    def free_slots(self) -> int:
        """Returns how many more runs this worker takes now; one that only brings its outputs home takes no slot."""
        working = sum(run.phase not in {RunPhase.EXITED, RunPhase.SETTLED} for run in self._runs.values())
        return max(0, self._max_runs - working)

    def free_gpus(self) -> list[str]:
        """Returns the GPUs that no run of this worker holds."""
        held = {uuid for run in self._runs.values() for uuid in run.grant.gpu_uuids}
        return [uuid for uuid in self._gpus if uuid not in held]

    async def accept(self, grant: Grant) -> bool:
        """Journals a grant and begins it; says whether it is new. The same grant again is the same run.

        One that is over is not begun again: its grant was sent a second time while its outcome was on the way.
        """
        if (grant.task_id, grant.lease_epoch) in self._runs or (grant.task_id, grant.lease_epoch) in self._over:
            return False
        for key in [key for key in self._runs if key[0] == grant.task_id and key[1] < grant.lease_epoch]:
            await self.drop(*key)
        entry = Entry(grant=grant)
        try:
            await self._kit.journal.save(entry)
        except sqlite3.Error as error:
            self._kit.log.error("%s is not taken, its lease ends: the journal: %s", grant.name, error)  # noqa: TRY400
            return False
        self._begin(entry)
        return True

    async def cancel(self, task_id: str, lease_epoch: int) -> None:
        """Ends a run because its task was cancelled."""
        run = self._runs.get((task_id, lease_epoch))
        if run is not None:
            await run.end(FailureReason.CANCELLED, "the task was cancelled")

    async def drop(self, task_id: str, lease_epoch: int) -> None:
        """Ends a run whose lease is lost, and forgets it."""
        key = (task_id, lease_epoch)
        task, run = self._tasks.pop(key, None), self._runs.pop(key, None)
        if task is None or run is None:
            return
        self._note_over(key)
        await put_down(task)
        await run.drop()

    async def drop_task(self, task_id: str) -> None:
        """Drops whatever this worker holds of a task."""
        for key in [key for key in self._runs if key[0] == task_id]:
            await self.drop(*key)

    async def close(self) -> None:
        """Lets go of the runs: they live on, and the next start of the worker takes them up."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await put_down(*tasks)

    def _begin(self, entry: Entry) -> None:
        key = (entry.grant.task_id, entry.grant.lease_epoch)
        run = HeldRun(entry, self._kit)
        self._runs[key] = run
        task = asyncio.create_task(run.drive(), name=f"run {entry.grant.name}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: _Key, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is not task or task.cancelled():
            return
        del self._tasks[key]
        error = task.exception()
        if error is None:
            self._runs.pop(key, None)
            self._note_over(key)
        else:
            # The run stays reported and journaled; only a restart of the worker can take it up again.
            self._kit.log.error("run %s-%s: unexpected", *key, exc_info=error)
        self._kit.changed()

    def _note_over(self, key: _Key) -> None:
        self._over[key] = None
        while len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]

    def _sweep(self, names: set[str]) -> None:
        self._kit.runs_folder.mkdir(parents=True, exist_ok=True)
        for folder in self._kit.runs_folder.iterdir():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)
