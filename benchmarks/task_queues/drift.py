"""Whether the controller's memory grows with what it has done: its RSS at a fifth of the run and at the end."""

import asyncio
import shutil

from task_queues.figures import resident_bytes
from task_queues.installation import Installation, Queue, scratch
from task_queues.simulated import SimulatedWorker

WORKERS = 4
SUBMITTERS = 16
POLLERS = 16
WITHIN_S = 600.0


async def measure_drift(*, polls: int, tasks: int) -> dict[str, float]:
    """Returns RSS at 20 % and at the end in MB, over so many polls and tasks, and the ratio of the two."""
    installation = Installation(scratch("drift"))
    installation.make()
    installation.start()
    try:
        async with installation.person() as person:
            queue = installation.queue(person)
            workers = []
            for number in range(WORKERS):
                _, certificate = await installation.enrol(f"drift-{number}", person)
                worker = SimulatedWorker(installation.agent(certificate), slots=16)
                await worker.register()
                workers.append(worker)
            first = await _part(installation, queue, workers, polls=polls // 5, tasks=tasks // 5, done=0)
            last = await _part(
                installation, queue, workers, polls=polls - polls // 5, tasks=tasks - tasks // 5, done=tasks // 5
            )
            return {"rss_at_20_mb": first / 1e6, "rss_at_end_mb": last / 1e6, "rss_ratio": last / first}
    finally:
        installation.stop()
        shutil.rmtree(installation.folder, ignore_errors=True)


async def _part(
    installation: Installation,
    queue: Queue,
    workers: list[SimulatedWorker],
    *,
    polls: int,
    tasks: int,
    done: int,
) -> int:
    working = [asyncio.create_task(worker.work()) for worker in workers]
    numbers = iter(range(done, done + tasks))

    async def submit() -> None:
        for number in numbers:
            await queue.submit(f"d{number}")

    await asyncio.gather(*(submit() for _ in range(SUBMITTERS)))
    await queue.settled(done + tasks, within_s=WITHIN_S)
    for one in working:
        one.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    had = sum(worker.polls for worker in workers)
    left = iter(range(max(0, polls - (had if not done else 0))))

    async def poll(worker: SimulatedWorker) -> None:
        for _ in left:
            await worker.poll_once(room=1, wait_s=0)

    await asyncio.gather(*(poll(workers[place % WORKERS]) for place in range(POLLERS)))
    return resident_bytes(installation.pid)
