"""One connection of SQLite whose transaction several members share."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lodeworks_controller.errors import ExhaustedError, UnavailableError
from lodeworks_controller.storage.database.sqlite_session import Session, sqlite_engine


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    opened = Session(sqlite_engine(tmp_path / "lode.db"), name="session", begin="BEGIN IMMEDIATE")
    await opened.connect()
    run(opened, object(), "CREATE TABLE kept (data BLOB)")
    opened.end("COMMIT")
    yield opened
    await opened.close()


def run(session: Session, member: object, statement: str) -> None:
    session.execute(member, lambda connection: connection.exec_driver_sql(statement))


def count(session: Session) -> int:
    found = session.execute(
        object(), lambda connection: connection.exec_driver_sql("SELECT count(*) FROM kept").scalar()
    )
    session.end("ROLLBACK")
    return int(found or 0)


async def test_a_full_disk_that_takes_back_a_transaction_ends_it_for_all_members(session: Session):
    first, filling, third = object(), object(), object()
    run(session, first, "INSERT INTO kept VALUES ('first')")
    run(session, filling, "PRAGMA max_page_count = 1")
    with pytest.raises(ExhaustedError):
        run(session, filling, "INSERT INTO kept VALUES (zeroblob(100000))")
    session.undo(filling)
    # A commit now must not say to the first that its work is durable, since it is gone.
    with pytest.raises(UnavailableError):
        run(session, third, "INSERT INTO kept VALUES ('third')")
    with pytest.raises(sqlite3.OperationalError):
        session.end("COMMIT")
    session.give_up()
    assert count(session) == 0

    run(session, third, "PRAGMA max_page_count = 1000")
    run(session, third, "INSERT INTO kept VALUES ('third')")
    session.end("COMMIT")
    assert count(session) == 1
