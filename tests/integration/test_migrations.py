"""The migrations make what the tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from lodeworks_controller.storage.database.engine import sqlite_engine
from lodeworks_controller.storage.database.migration import current_revision, migrate, newest_revision
from lodeworks_controller.storage.database.schema import metadata

if TYPE_CHECKING:
    from pathlib import Path


def test_a_migrated_database_is_what_the_tables_say(tmp_path: Path):
    database = tmp_path / "lode.db"
    assert migrate(database) == newest_revision() == current_revision(database)
    engine = sqlite_engine(database)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_migrating_again_changes_nothing(tmp_path: Path):
    database = tmp_path / "lode.db"
    migrate(database)
    before = database.read_bytes()
    migrate(database)
    assert database.read_bytes() == before
