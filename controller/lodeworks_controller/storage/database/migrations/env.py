"""Run by alembic: applies the migrations on the connection that it was given, or compares the tables with them."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from lodeworks_controller.storage.database import unit  # every table registers on import
from lodeworks_controller.storage.database.schema import metadata


def _render(kind: str, thing: Any, _: Any) -> str | Literal[False]:
    """Writes a column type of ours as what it is in the database: a migration must not change with our code."""
    if kind == "type" and isinstance(thing, TypeDecorator):
        return f"sa.{thing.impl!r}"
    return False


assert unit is not None
connection = context.config.attributes["connection"]
# SQLite alters a table by copying it.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, render_item=_render)
context.run_migrations()
