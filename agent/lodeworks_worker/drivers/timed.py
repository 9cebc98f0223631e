"""Measures how long a driver takes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lodeworks_worker.drivers.base import Capabilities, Driver, Exit, Launch, LogPart, RunHandle


class TimedDriver:
    """A driver that tells `observe(operation, seconds)` about each call to another; waits are runs, not latencies."""

    def __init__(self, inner: Driver, *, observe: Callable[[str, float], None], monotonic: Callable[[], float]) -> None:
        self._inner = inner
        self._observe = observe
        self._monotonic = monotonic

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        began = self._monotonic()
        try:
            yield
        finally:
            self._observe(operation, self._monotonic() - began)

    async def capabilities(self) -> Capabilities:
        """Passes on, timed."""
        with self._timed("capabilities"):
            return await self._inner.capabilities()

    async def start(self, launch: Launch) -> RunHandle:
        """Passes on, timed."""
        with self._timed("start"):
            return await self._inner.start(launch)

    async def recover(self, handle: RunHandle) -> None:
        """Passes on, timed."""
        with self._timed("recover"):
            await self._inner.recover(handle)

    async def wait(self, handle: RunHandle) -> Exit:
        """Passes on."""
        return await self._inner.wait(handle)

    async def logs(self, handle: RunHandle, *, offset: int) -> LogPart:
        """Passes on, timed."""
        with self._timed("logs"):
            return await self._inner.logs(handle, offset=offset)

    async def stop(self, handle: RunHandle, *, grace_s: float) -> None:
        """Passes on, timed."""
        with self._timed("stop"):
            await self._inner.stop(handle, grace_s=grace_s)

    async def remove(self, handle: RunHandle) -> None:
        """Passes on, timed."""
        with self._timed("remove"):
            await self._inner.remove(handle)

    async def found(self) -> Sequence[RunHandle]:
        """Passes on, timed."""
        with self._timed("found"):
            return await self._inner.found()
