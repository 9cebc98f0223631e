"""Fixtures that every folder of tests may ask for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_stores import make_bucket, running_s3
from postgres_server import PostgresServer, find_programs, running_postgres


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take minutes, so that no processor waits for the last of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """Returns the folder of PostgreSQL's programs."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are missing; install the package postgresql")
    return programs


@pytest.fixture(scope="session")
def postgres_server(postgres_programs: Path) -> Iterator[PostgresServer]:
    """Returns a throw-away PostgreSQL server, one for all tests of a run."""
    with running_postgres(postgres_programs) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """Returns the address of an empty PostgreSQL database."""
    return postgres_server.create()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_address(request: pytest.FixtureRequest, tmp_path):
    """Returns where a new, empty database is to be: a file for SQLite, then an address for PostgreSQL."""
    return tmp_path / "lode.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Returns the address of an S3 of our own, one for all tests of a run; it checks no signatures."""
    with running_s3() as address:
        yield address


@pytest.fixture
def bucket(s3_address: str, tmp_path) -> Any:
    """Returns an object store that is empty."""
    from lodeworks_controller.storage.blobs.object_address import object_store  # noqa: PLC0415

    make_bucket(s3_address, "lodeworks")
    options = {"endpoint": s3_address, "access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
    return object_store(f"s3://lodeworks/{tmp_path.parent.name}/{tmp_path.name}", options)
