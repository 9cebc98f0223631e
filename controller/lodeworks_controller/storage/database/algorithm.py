"""Algorithms and their releases in SQL; the packages' files are blobs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    RowMapping,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)

from lodeworks_controller.domain.algorithm import (
    Algorithm,
    ClassDrop,
    Measurement,
    Package,
    PackageBlob,
    Release,
    ReleaseState,
)
from lodeworks_controller.errors import NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Digest, Id, Instant, JsonText, metadata

algorithms = Table(
    "algorithms",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("name", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_number", Integer, nullable=False),
    UniqueConstraint("project_id", "name"),
)

releases = Table(
    "releases",
    metadata,
    Column("id", Id, primary_key=True),
    Column("algorithm_id", Id, ForeignKey("algorithms.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version_id", String(26), nullable=False),
    Column("class_names", JsonText, nullable=False),
    Column("packages", JsonText, nullable=False),
    Column("report", JsonText, nullable=False),
    Column("report_digest", Digest, nullable=False),
    Column("card_digest", Digest, nullable=False),
    Column("task_id", String(26), nullable=False),
    Column("target_path", Text, nullable=False),
    Column("failure", Text, nullable=False),
    Column("created_by", String(26), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("signed_at", Instant),
    UniqueConstraint("algorithm_id", "number"),
    Index(None, "algorithm_id", "state", "number"),
)


class SqlAlgorithmRows:
    """The algorithms on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, project_id: str, name_or_id: str) -> Algorithm | None:
        """Returns the algorithm of that name or id in a project."""
        query = select(algorithms).where(
            algorithms.c.project_id == project_id,
            (algorithms.c.id == name_or_id) | (algorithms.c.name == name_or_id),
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else Algorithm(**row)

    async def insert(self, algorithm: Algorithm) -> None:
        """Stores a new algorithm."""
        await self._connection.execute(insert(algorithms), asdict(algorithm))

    async def put(self, algorithm: Algorithm) -> None:
        """Stores how an algorithm stands."""
        await self._connection.execute(
            update(algorithms).where(algorithms.c.id == algorithm.id).values(asdict(algorithm))
        )

    async def list(self, project_id: str, *, after_name: str, limit: int) -> Sequence[Algorithm]:
        """Returns the algorithms of a project by name."""
        query = (
            select(algorithms)
            .where(algorithms.c.project_id == project_id, algorithms.c.name > after_name)
            .order_by(algorithms.c.name)
            .limit(limit)
        )
        return [Algorithm(**row) for row in (await self._connection.execute(query)).mappings()]

    async def count_releases(self, algorithm_id: str) -> int:
        """Returns how many releases and candidates there are."""
        query = select(func.count()).where(releases.c.algorithm_id == algorithm_id)
        return int((await self._connection.execute(query)).scalar_one())

    async def insert_release(self, release: Release) -> None:
        """Stores a new release."""
        await self._connection.execute(insert(releases), _values(release))

    async def put_release(self, release: Release) -> None:
        """Stores how a release stands."""
        await self._connection.execute(update(releases).where(releases.c.id == release.id).values(_values(release)))

    async def delete_release(self, release_id: str) -> None:
        """Removes a release."""
        await self._connection.execute(delete(releases).where(releases.c.id == release_id))

    async def release(self, release_id: str) -> Release:
        """Returns a release, or raises NotFoundError."""
        row = (await self._connection.execute(_joined().where(releases.c.id == release_id))).mappings().first()
        if row is None:
            raise NotFoundError("RELEASE_NOT_FOUND", f"there is no release {release_id}", id=release_id)
        return _to_release(row)

    async def numbered(self, algorithm_id: str, number: int) -> Release | None:
        """Returns the release of a number."""
        query = _joined().where(releases.c.algorithm_id == algorithm_id, releases.c.number == number)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_release(row)

    async def newest(self, algorithm_id: str) -> Release | None:
        """Returns the newest signed release."""
        query = (
            _joined()
            .where(releases.c.algorithm_id == algorithm_id, releases.c.state == ReleaseState.RELEASED.value)
            .order_by(releases.c.number.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_release(row)

    async def releases(self, algorithm_id: str, *, before_number: int | None, limit: int) -> Sequence[Release]:
        """Returns the releases and candidates of an algorithm, newest first."""
        query = _joined().where(releases.c.algorithm_id == algorithm_id)
        if before_number is not None:
            query = query.where(releases.c.number < before_number)
        query = query.order_by(releases.c.number.desc()).limit(limit)
        return [_to_release(row) for row in (await self._connection.execute(query)).mappings()]


_PLAIN = (
    *("id", "algorithm_id", "number", "model_name", "model_version_id", "report", "report_digest", "card_digest"),
    *("task_id", "target_path", "failure", "created_by", "created_at", "signed_at"),
)


def _joined() -> Select[Any]:
    return select(releases, algorithms.c.name, algorithms.c.project_id).join(
        algorithms, algorithms.c.id == releases.c.algorithm_id
    )


def _values(release: Release) -> dict[str, Any]:
    return {
        **{name: getattr(release, name) for name in _PLAIN},
        "state": release.state.value,
        "class_names": list(release.class_names),
        "packages": [asdict(package) for package in release.packages],
    }


def _to_release(row: RowMapping) -> Release:
    return Release(
        **{name: row[name] for name in _PLAIN},
        name=row["name"],
        project_id=row["project_id"],
        state=ReleaseState(row["state"]),
        class_names=tuple(row["class_names"]),
        packages=tuple(_to_package(package) for package in row["packages"]),
    )


def _to_package(given: Mapping[str, Any]) -> Package:
    measured = dict(given["measurement"])
    drops = tuple(ClassDrop(**drop) for drop in measured.pop("class_drops"))
    return Package(
        **{
            **given,
            "arch": tuple(given["arch"]),
            "blobs": tuple(PackageBlob(**blob) for blob in given["blobs"]),
            "measurement": Measurement(**measured, class_drops=drops),
        }
    )
