"""Run by alembic: applies the migrations on the connection that it was given, or compares the tables with them."""

from alembic import context

from lodeworks_controller.storage.database import unit  # every table registers on import
from lodeworks_controller.storage.database.schema import metadata

assert unit is not None
connection = context.config.attributes["connection"]
# SQLite alters a table by copying it.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
