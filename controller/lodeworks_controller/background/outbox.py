"""The outbox: notices are delivered at least once, with a growing wait after a failure."""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from lodeworks_controller.background.rouser import Rouser
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.outbox import OutboxMessage
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.wake import Wakes

_log = logging.getLogger(__name__)

_TICK_S = 5.0
_PRUNE_S = 3_600.0
_BATCH = 200
_GATHER_S = 0.2
_KEPT = timedelta(days=7)
_LONGEST_S = 900.0

Deliver = Callable[[OutboxMessage], Awaitable[None]]
"""Hands one message to whom it concerns; raises where it did not arrive."""


class Outbox:
    """Delivers what was committed."""

    def __init__(self, store: Store, deliver: Deliver) -> None:
        self._store = store
        self._deliver = deliver

    async def deliver_pending(self) -> None:
        """Delivers what waits, oldest first."""
        while True:
            async with self._store.snapshot() as tx:
                waiting = await tx.outbox.pending(limit=_BATCH)
            if not waiting:
                return
            arrived = [message.id for message in waiting if await self._try(message)]
            if arrived:
                async with self._store.transaction() as tx:
                    await tx.outbox.delivered(arrived)

    async def prune(self) -> None:
        """Removes what was delivered long ago."""
        async with self._store.transaction() as tx:
            await tx.outbox.prune(before=tx.now() - _KEPT)

    async def _try(self, message: OutboxMessage) -> bool:
        try:
            await self._deliver(message)
        except Exception as error:  # noqa: BLE001 (a notice that fails is tried again)
            _log.warning("notice %s (%s) did not arrive: %s", message.id, message.topic, error)
            async with self._store.transaction() as tx:
                wait_s = min(_LONGEST_S, 5.0 * 2**message.attempts)
                await tx.outbox.postpone(message.id, until=tx.now() + timedelta(seconds=wait_s))
            return False
        return True


def start_outbox(outbox: Outbox, *, wakes: Wakes, ticks: Ticks) -> Rouser:
    """Starts the role; the ticks begin with the clockwork."""
    ticks.every(_TICK_S, "outbox", outbox.deliver_pending)
    ticks.every(_PRUNE_S, "outbox pruning", outbox.prune)
    rouser = Rouser("outbox", wakes.outbox, outbox.deliver_pending, gather_s=_GATHER_S)
    rouser.start()
    return rouser
