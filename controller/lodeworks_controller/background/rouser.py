"""A role that works as soon as its signal is raised; ticks cover for signals that were lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from lodeworks_controller.service.wake import Signal

_log = logging.getLogger(__name__)

_PAUSE_S = 1.0


class Rouser:
    """Runs the work each time the signal was raised; gathers for a while first where promptness is not wanted."""

    def __init__(
        self, name: str, signal: Signal, work: Callable[[], Awaitable[None]], *, gather_s: float = 0.0
    ) -> None:
        self._name = name
        self._signal = signal
        self._work = work
        self._gather_s = gather_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to listen."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends it and waits for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._signal.raised()
            if self._gather_s:
                await asyncio.sleep(self._gather_s)
            self._signal.clear()
            try:
                await self._work()
            except Exception:  # noqa: BLE001 (one failure must not end the role)
                _log.exception("the %s failed; it tries again", self._name)
                await asyncio.sleep(_PAUSE_S)
                self._signal.set()
