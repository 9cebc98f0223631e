"""The audit log is append only: the database itself refuses, whichever it is and however it was made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.storage.database.migration import migrate
from lodeworks_controller.storage.database.unit import SqlStore
from sqlalchemy import text

if TYPE_CHECKING:
    from pathlib import Path


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("how", ["migrated", "created"])
@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
async def test_an_entry_can_neither_be_changed_nor_removed(database_address: Path | str, how: str, statement: str):
    if how == "migrated":
        migrate(database_address)
    store = await SqlStore.open(database_address, clock=now, ids=ulids(now))
    try:
        if how == "created":
            await store.create_schema()
        async with store.transaction() as tx:
            await tx.audit.add("task.cancel", "t", actor="user:u")
        with pytest.raises(Exception, match="append only"):
            async with store.transaction() as tx:
                await tx._connection.execute(text(statement))
        async with store.snapshot() as tx:
            assert [entry.actor for entry in await tx.audit.list()] == ["user:u"]
    finally:
        await store.close()
