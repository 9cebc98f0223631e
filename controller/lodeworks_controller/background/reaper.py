"""The reaper: silent leases become suspect, then lost. After a start of the controller it waits one lease first."""

import asyncio

from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.service.reaping import Reaping

_TICK_S = 1.0


def start_reaper(reaping: Reaping, *, terms: LeaseTerms, ticks: Ticks) -> None:
    """Starts the role with the clockwork; workers have one lease's time to come back first."""
    loop = asyncio.get_running_loop()
    begin = loop.time() + terms.ttl_s

    async def tick() -> None:
        if loop.time() >= begin:
            await reaping.reap()

    ticks.every(_TICK_S, "reaper", tick)
