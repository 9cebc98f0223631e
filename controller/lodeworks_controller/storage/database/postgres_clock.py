"""The database's clock as a controller knows it between two looks at it."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from lodeworks_controller.domain.clock import from_micros

CLOCK: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_FRESH_S: Final = 1.0


class PostgresClock:
    """Goes on from the moment that the server told last, by this machine's steady clock.

    The server's own clock is ahead of it by what its answer took, never behind; so of two controllers that write one
    after the other, the second has the later moment.
    """

    def __init__(self) -> None:
        self._told_at = from_micros(0)
        self._told_s = -_FRESH_S

    @property
    def fresh(self) -> bool:
        """Whether the server was asked a moment ago."""
        return asyncio.get_running_loop().time() - self._told_s < _FRESH_S

    def hear(self, micros: int) -> None:
        """Notes what the server has just told."""
        self._told_at, self._told_s = from_micros(micros), asyncio.get_running_loop().time()

    def now(self) -> datetime:
        """Returns the present moment."""
        return self._told_at + timedelta(seconds=asyncio.get_running_loop().time() - self._told_s)
