"""Two processes that train and mine; what can go on goes on, one seed after the other."""

import heapq
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from mining_rounds.plans import Plan
from mining_rounds.points import START, Point, Points
from mining_rounds.runs import mined, trained
from mining_rounds.sets import open_set

PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Job:
    """One point that is to be measured: where its round begins, and who chooses."""

    plan: Plan
    code: str
    seed: int
    strategy: str
    round: int
    labelled: tuple[str, ...]
    folder: Path
    bccd: Path | None


def measure(job: Job) -> Point:
    """Mines if it is a round of a strategy, trains, measures."""
    pictures = open_set(job.plan, seed=job.seed, folder=job.folder, bccd=job.bccd)
    labelled, looked_at, mining_s = job.labelled, 0, 0.0
    chosen: tuple[str, ...] = ()
    if job.strategy != START:
        model = trained(job.plan, pictures, labelled, seed=job.seed, folder=job.folder)
        found = mined(
            pictures,
            model,
            labelled,
            strategy=job.strategy,
            budget=job.plan.budget,
            seed=job.seed,
            folder=job.folder,
        )
        chosen, looked_at, mining_s = found.digests, found.pictures, found.processor_s
    result = trained(job.plan, pictures, (*labelled, *chosen), seed=job.seed, folder=job.folder)
    return Point(
        set_name=job.plan.name,
        code=job.code,
        seed=job.seed,
        strategy=job.strategy,
        round=job.round,
        labels=len(labelled) + len(chosen),
        map50=result.map50,
        test_ap50=result.test_ap50,
        added=chosen,
        mined=looked_at,
        mining_s=mining_s,
        training_s=result.processor_s,
    )


class Rounds:
    """The rounds of one set, for some strategies and seeds."""

    def __init__(
        self,
        plan: Plan,
        *,
        code: str,
        strategies: Sequence[str],
        folder: Path,
        points: Points,
        bccd: Path | None,
        told: Callable[[Point], None],
    ) -> None:
        self._plan = plan
        self._code = code
        self._strategies = strategies
        self._folder = folder
        self._points = points
        self._bccd = bccd
        self._told = told
        self._waiting: list[tuple[int, int, int, Job]] = []

    def run(self) -> None:
        """Measures all points that are missing."""
        for seed in self._plan.seeds:
            pictures = open_set(self._plan, seed=seed, folder=self._folder, bccd=self._bccd)
            self._go_on(START, 0, seed=seed, labelled=tuple(pictures.first(self._plan, seed=seed)))
        if not self._waiting:
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
            running: dict[Future[Point], Job] = {}
            while self._waiting or running:
                while self._waiting and len(running) < PROCESSES:
                    job = heapq.heappop(self._waiting)[-1]
                    running[pool.submit(measure, job)] = job
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    job, point = running.pop(future), future.result()
                    self._points.add(point)
                    self._told(point)
                    self._after(point, labelled=(*job.labelled, *point.added))

    def _go_on(self, strategy: str, number: int, *, seed: int, labelled: tuple[str, ...]) -> None:
        """Queues a point, or what comes after it where it was measured before."""
        if number > self._plan.rounds:
            return
        point = self._points.find(self._plan.name, self._code, seed, strategy, number)
        if point is not None:
            self._after(point, labelled=(*labelled, *point.added))
            return
        job = Job(self._plan, self._code, seed, strategy, number, labelled, self._folder, self._bccd)
        order = self._strategies.index(strategy) if strategy else -1
        heapq.heappush(self._waiting, (self._plan.seeds.index(seed), order, number, job))

    def _after(self, point: Point, *, labelled: tuple[str, ...]) -> None:
        for strategy in self._strategies if point.strategy == START else (point.strategy,):
            self._go_on(strategy, point.round + 1, seed=point.seed, labelled=labelled)
