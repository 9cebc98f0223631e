"""Tells the log what a driver is asked for and how it answers."""

import logging
from collections.abc import Sequence

from lodeworks_worker.drivers.base import Capabilities, Driver, Exit, Launch, LogPart, RunHandle, run_name
from lodeworks_worker.errors import WorkerError


class LoggedDriver:
    """A driver that logs each start, end and stop of another; reads of logs are too many to tell."""

    def __init__(self, inner: Driver, *, log: logging.Logger) -> None:
        self._inner = inner
        self._log = log

    async def capabilities(self) -> Capabilities:
        """Asks the driver and logs why it is unavailable, if it is."""
        told = await self._inner.capabilities()
        self._log.info("driver %s: %s", told.name, told.unavailable or f"ready {told.version}".strip())
        return told

    async def start(self, launch: Launch) -> RunHandle:
        """Starts the run and logs that it did, or why not."""
        try:
            handle = await self._inner.start(launch)
        except WorkerError as error:
            self._log.warning("run %s did not start: %s", launch.name, error)
            raise
        self._log.info("run %s started by %s", launch.name, handle.driver)
        return handle

    async def recover(self, handle: RunHandle) -> None:
        """Takes up the run and logs whether it was there."""
        try:
            await self._inner.recover(handle)
        except WorkerError as error:
            self._log.warning("run %s: %s", _name(handle), error)
            raise
        self._log.info("run %s taken up", _name(handle))

    async def wait(self, handle: RunHandle) -> Exit:
        """Waits and logs the end."""
        ended = await self._inner.wait(handle)
        self._log.info("run %s ended: code %s signal %s oom %s", _name(handle), ended.code, ended.signal, ended.oom)
        return ended

    async def logs(self, handle: RunHandle, *, offset: int) -> LogPart:
        """Passes on."""
        return await self._inner.logs(handle, offset=offset)

    async def stop(self, handle: RunHandle, *, grace_s: float) -> None:
        """Stops the run and logs the order."""
        self._log.info("run %s: stop with a grace of %s s", _name(handle), grace_s)
        await self._inner.stop(handle, grace_s=grace_s)

    async def remove(self, handle: RunHandle) -> None:
        """Passes on."""
        await self._inner.remove(handle)

    async def found(self) -> Sequence[RunHandle]:
        """Passes on."""
        return await self._inner.found()


def _name(handle: RunHandle) -> str:
    return run_name(handle.task_id, handle.lease_epoch)
