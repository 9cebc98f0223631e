"""A database that was migrated has exactly the tables that the program knows."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.storage.database.catalogue import id_ranges
from lodeworks_controller.storage.database.migration import (
    check_schema,
    current_revision,
    migrate,
    newest_revision,
    on_database,
)
from lodeworks_controller.storage.database.schema import metadata
from sqlalchemy import insert, inspect, select
from sqlalchemy.engine import Connection


def test_migrations_make_the_tables_of_the_program(database_address: Path | str) -> None:
    assert migrate(database_address) == newest_revision()
    check_schema(database_address)
    assert on_database(database_address, differences) == []
    there = on_database(database_address, lambda connection: inspect(connection).get_table_names())
    assert set(metadata.tables) <= set(there)


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_migrating_twice_is_harmless(database_address: Path | str) -> None:
    migrate(database_address)
    assert migrate(database_address) == current_revision(database_address)


def test_another_schema_is_refused_with_what_to_do(database_address: Path | str) -> None:
    def make_newer(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")

    on_database(database_address, make_newer)
    with pytest.raises(ConflictError, match="newer"):
        check_schema(database_address)


@pytest.mark.postgres
def test_texts_are_ordered_by_code_point_whatever_the_locale(postgres_url: str) -> None:
    # What is of others is left alone.
    on_database(postgres_url, lambda connection: connection.exec_driver_sql("CREATE VIEW other AS SELECT 'x' AS name"))
    migrate(postgres_url)

    def sorted_names(connection: Connection) -> list[str]:
        names = ["b", "B", "a", "ä", "_"]
        connection.execute(insert(id_ranges), [{"name": name, "next_id": 1} for name in names])
        return list(connection.execute(select(id_ranges.c.name).order_by(id_ranges.c.name)).scalars())

    assert on_database(postgres_url, sorted_names) == ["B", "_", "a", "b", "ä"]
