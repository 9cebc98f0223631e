"""The reaper: silent leases become suspect, then lost. Who becomes the reaper waits one lease first."""

import asyncio

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.service.reaping import Reaping
from lodeworks_controller.service.role import Role

_TICK_S = 1.0


def start_reaper(reaping: Reaping, *, role: Role, terms: LeaseTerms, ticks: Ticks) -> None:
    """Starts the role with the clockwork; workers have one lease's time to come back first."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()

    async def tick() -> None:
        if loop.time() >= max(started_s, role.held_since_s) + terms.ttl_s:
            await reaping.reap()

    ticks.every(_TICK_S, "reaper", while_held(role, tick))
