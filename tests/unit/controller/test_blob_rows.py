"""Questions about many blobs are few different statements: a driver keeps each of them, with all its places."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from lodeworks_controller.storage.database.blob import SqlBlobRows
from lodeworks_controller.storage.database.connection import Connection, Rows


class Listener:
    """Notes how many values each statement compares with."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.asked: set[str] = set()

    async def execute(self, statement: Any, parameters: Any = None) -> Rows:
        assert parameters is None
        (digests,) = (value for value in statement.compile().params.values() if isinstance(value, list))
        self.lengths.append(len(digests))
        self.asked |= set(digests)
        return Rows((), rowcount=0)


def test_lists_of_any_length_make_few_statements() -> None:
    listener = Listener()
    rows = SqlBlobRows(cast("Connection", listener), now=datetime(2026, 1, 1, tzinfo=UTC))

    async def ask() -> None:
        for count in range(1, 600, 7):
            digests = [f"{number:064x}" for number in range(count)]
            listener.asked.clear()
            await rows.referenced("task:1", digests)
            assert listener.asked == set(digests)
        await rows.marked([f"{number:064x}" for number in range(5000)])

    asyncio.run(ask())
    assert len(set(listener.lengths)) <= 12
    assert max(listener.lengths) <= 2048
