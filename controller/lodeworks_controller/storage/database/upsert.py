"""INSERT that says what happens when the row is there already.

SQLite and PostgreSQL share the words, and SQLAlchemy's PostgreSQL form compiles for both. A violated unique key would
end a whole PostgreSQL transaction, so rows that may be there are inserted this way, and the count of rows tells.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import Insert, insert


def insert_new(table: Table) -> Insert:
    """Returns an INSERT that leaves a row alone whose unique key is there: zero rows are inserted then."""
    return insert(table).on_conflict_do_nothing()


def insert_or_put(table: Table, *, keys: Sequence[str], values: Mapping[str, Any]) -> Insert:
    """Returns an INSERT that changes the row to the values where its key is there."""
    return insert(table).on_conflict_do_update(index_elements=list(keys), set_=dict(values))
