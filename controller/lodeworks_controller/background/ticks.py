"""The clockwork: APScheduler ticks the background roles. It dispatches nothing and remembers nothing."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC

from apscheduler.schedulers.asyncio import AsyncIOScheduler

_log = logging.getLogger(__name__)

Tick = Callable[[], Awaitable[None]]


class Ticks:
    """Runs each role every so often: one instance at a time, missed ticks as one."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        # A tick that is still at work is the rule under load, and one that a stop cut short no fault: `run` below
        # logs what matters.
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)

    def every(self, seconds: float, name: str, tick: Tick) -> None:
        """Adds a role."""

        async def run() -> None:
            try:
                await tick()
            except Exception:  # noqa: BLE001 (one failed tick must not end the role)
                _log.exception("the %s failed; it goes on with its next tick", name)

        self._scheduler.add_job(run, "interval", seconds=seconds, name=name)

    def start(self) -> None:
        """Starts the clockwork in the running loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stops it; a tick at work is not waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
