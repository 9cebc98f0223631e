"""Wakes between controllers by LISTEN and NOTIFY: hints that save a poll. A lost one costs a second at most."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from lodeworks_controller.storage.database.postgres_address import driver_arguments

_log = logging.getLogger(__name__)

_CHANNEL = "lode_wakes"
_PAYLOAD_BYTES = 7_000
"""PostgreSQL refuses 8,000."""
_GATHER_S = 0.02
_AGAIN_S = 1.0
_ALIVE_S = 10.0
_TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


class PostgresWakes:
    """Tells the other controllers on a database, and hears them.

    Args:
        url: The database.
        origin: Id of this start of this controller; what it told itself it does not hear.
        hear: Called with each word of another controller.
    """

    def __init__(self, url: str, *, origin: str, hear: Callable[[str], None]) -> None:
        self._url = url
        self._origin = origin
        self._hear = hear
        self._words: dict[str, None] = {}
        self._some = asyncio.Event()

    def tell(self, word: str) -> None:
        """Tells a word soon; the same word again, not told yet, is told once."""
        self._words[word] = None
        self._some.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hears and tells until left; connects again when the connection is lost."""
        task = asyncio.create_task(self._keep(), name="wakes")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _keep(self) -> None:
        told = False
        while True:
            try:
                await self._converse()
            except _TROUBLE as error:
                if not told:
                    _log.warning("controllers do not hear each other for now, they look each second: %s", error)
                told = True
            await asyncio.sleep(_AGAIN_S)

    async def _converse(self) -> None:
        connection = await asyncpg.connect(**driver_arguments(self._url), timeout=_ALIVE_S, command_timeout=_ALIVE_S)
        try:
            await connection.add_listener(_CHANNEL, self._heard)
            while True:
                await self._tell_on(connection)
        finally:
            with suppress(*_TROUBLE):
                await connection.close(timeout=1.0)

    async def _tell_on(self, connection: Any) -> None:
        # Now and then it is asked whether the server is still there: a lost one says nothing.
        with suppress(TimeoutError):
            async with asyncio.timeout(_ALIVE_S):
                await self._some.wait()
                await asyncio.sleep(_GATHER_S)
        self._some.clear()
        words, self._words = list(self._words), {}
        if not words:
            await connection.execute("SELECT 1")
        for payload in _payloads(self._origin, words):
            await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, payload)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            told = json.loads(str(payload))
            if told["from"] == self._origin:
                return
            words = [str(word) for word in told["words"]]
        except (ValueError, KeyError, TypeError):
            return  # not from a controller
        for word in words:
            self._hear(word)


def _payloads(origin: str, words: Sequence[str]) -> Iterator[str]:
    some: list[str] = []
    size = 0
    for word in words:
        cost = len(json.dumps(word)) + 1  # of ASCII alone
        if some and size + cost > _PAYLOAD_BYTES:
            yield json.dumps({"from": origin, "words": some})
            some, size = [], 0
        if cost <= _PAYLOAD_BYTES:
            some.append(word)
            size += cost
    if some:
        yield json.dumps({"from": origin, "words": some})
