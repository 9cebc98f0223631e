"""Prepared statements on PostgreSQL: their text goes straight to the driver, which has the server parse it once."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from lodeworks_controller.storage.database.connection import Rows
from lodeworks_controller.storage.database.prepared import Compiled


class PostgresStatements:
    """The statements that were marked as prepared, as PostgreSQL gets them."""

    def __init__(self) -> None:
        self._dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
        self._compiled: dict[Executable, Compiled] = {}

    async def execute(self, raw: Any, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        """Executes one on a connection of the driver and returns all its rows."""
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = Compiled(statement, parameters, dialect=self._dialect)
        values = compiled.values(parameters)
        if compiled.returns_rows:
            return compiled.answer(await raw.fetch(compiled.text, *values))
        done: str = await raw.execute(compiled.text, *values)
        return Rows((), rowcount=int(done.rpartition(" ")[2]))
