"""The unit of work in SQL: one transaction, and every repository on it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path

from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.storage.database.agent import SqlAgentRows
from lodeworks_controller.storage.database.algorithm import SqlAlgorithmRows
from lodeworks_controller.storage.database.audit import SqlAuditRows
from lodeworks_controller.storage.database.blob import SqlBlobRows
from lodeworks_controller.storage.database.catalogue import SqlCatalogueRows, SqlLineageRows
from lodeworks_controller.storage.database.collection import SqlCollectionRows
from lodeworks_controller.storage.database.connection import Connection, Database
from lodeworks_controller.storage.database.dataset import SqlDatasetRows
from lodeworks_controller.storage.database.device import SqlDeviceRows
from lodeworks_controller.storage.database.engine import Database as SqliteDatabase
from lodeworks_controller.storage.database.evaluation import SqlEvaluationRows
from lodeworks_controller.storage.database.executor import SqlExecutorRows
from lodeworks_controller.storage.database.idempotency import SqlIdempotencyRows
from lodeworks_controller.storage.database.identity import SqlTokenRows, SqlUserRows
from lodeworks_controller.storage.database.installation import SqlInstallationRows
from lodeworks_controller.storage.database.log import SqlLogRows
from lodeworks_controller.storage.database.message import SqlMessageRows
from lodeworks_controller.storage.database.model import SqlModelRows
from lodeworks_controller.storage.database.object_class import SqlClassRows
from lodeworks_controller.storage.database.object_index import SqlObjectRows
from lodeworks_controller.storage.database.outbox import SqlOutboxRows
from lodeworks_controller.storage.database.prediction_set import SqlPredictionSetRows
from lodeworks_controller.storage.database.presence import SqlPresenceRows
from lodeworks_controller.storage.database.project import SqlProjectRows
from lodeworks_controller.storage.database.quota import SqlQuotaRows
from lodeworks_controller.storage.database.role import SqlRoleRows
from lodeworks_controller.storage.database.schedule import SqlScheduleRows
from lodeworks_controller.storage.database.task import SqlTaskRows
from lodeworks_controller.storage.database.webhook import SqlWebhookRows
from lodeworks_controller.storage.database.worker import SqlWorkerRows


class SqlTransaction:
    """What one unit of work sees, on one connection. Each repository is made when it is first asked for."""

    def __init__(self, connection: Connection, *, now: datetime, ids: Ids) -> None:
        self._connection = connection
        self._now = now
        self._ids = ids

    def now(self) -> datetime:
        """Returns the database's clock; within one unit of work it stands still.

        SQLite has exactly one controller, whose clock is the database's; PostgreSQL tells its own.
        """
        return self._now

    def on_commit(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable."""
        self._connection.on_commit(action)

    def on_kept(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is done, maybe before it is durable."""
        self._connection.on_kept(action)

    @cached_property
    def tasks(self) -> SqlTaskRows:
        """The tasks."""
        return SqlTaskRows(self._connection)

    @cached_property
    def quotas(self) -> SqlQuotaRows:
        """What projects and people may use at most."""
        return SqlQuotaRows(self._connection)

    @cached_property
    def workers(self) -> SqlWorkerRows:
        """The workers."""
        return SqlWorkerRows(self._connection)

    @cached_property
    def users(self) -> SqlUserRows:
        """The users."""
        return SqlUserRows(self._connection)

    @cached_property
    def tokens(self) -> SqlTokenRows:
        """The bearer tokens of people."""
        return SqlTokenRows(self._connection)

    @cached_property
    def agents(self) -> SqlAgentRows:
        """The enrolled workers and devices, with their one-time tokens."""
        return SqlAgentRows(self._connection, now=self._now)

    @cached_property
    def blobs(self) -> SqlBlobRows:
        """Which scopes refer to which blobs."""
        return SqlBlobRows(self._connection, now=self._now)

    @cached_property
    def collection(self) -> SqlCollectionRows:
        """The blobs as the collector sees them."""
        return SqlCollectionRows(self._connection, now=self._now)

    @cached_property
    def objects(self) -> SqlObjectRows:
        """Where blobs lie in an object store."""
        return SqlObjectRows(self._connection)

    @cached_property
    def logs(self) -> SqlLogRows:
        """The logs and metric series that several controllers share."""
        return SqlLogRows(self._connection)

    @cached_property
    def idempotency(self) -> SqlIdempotencyRows:
        """The requests that were carried out."""
        return SqlIdempotencyRows(self._connection, now=self._now)

    @cached_property
    def projects(self) -> SqlProjectRows:
        """The projects and their members."""
        return SqlProjectRows(self._connection)

    @cached_property
    def classes(self) -> SqlClassRows:
        """The raw classes of the installation and the class maps of projects."""
        return SqlClassRows(self._connection, now=self._now)

    @cached_property
    def datasets(self) -> SqlDatasetRows:
        """The datasets, their versions and import reports."""
        return SqlDatasetRows(self._connection)

    @cached_property
    def prediction_sets(self) -> SqlPredictionSetRows:
        """The prediction sets."""
        return SqlPredictionSetRows(self._connection)

    @cached_property
    def catalogue(self) -> SqlCatalogueRows:
        """Ranges of ids, segments of assets, views."""
        return SqlCatalogueRows(self._connection, now=self._now)

    @cached_property
    def lineage(self) -> SqlLineageRows:
        """What was made from what."""
        return SqlLineageRows(self._connection)

    @cached_property
    def models(self) -> SqlModelRows:
        """The models."""
        return SqlModelRows(self._connection)

    @cached_property
    def evaluations(self) -> SqlEvaluationRows:
        """The evaluations."""
        return SqlEvaluationRows(self._connection)

    @cached_property
    def executors(self) -> SqlExecutorRows:
        """The executors that people registered."""
        return SqlExecutorRows(self._connection)

    @cached_property
    def algorithms(self) -> SqlAlgorithmRows:
        """The algorithms and their releases."""
        return SqlAlgorithmRows(self._connection)

    @cached_property
    def devices(self) -> SqlDeviceRows:
        """The devices."""
        return SqlDeviceRows(self._connection)

    @cached_property
    def outbox(self) -> SqlOutboxRows:
        """What is to be told to others once this is durable."""
        return SqlOutboxRows(self._connection, ids=self._ids, now=self._now)

    @cached_property
    def webhooks(self) -> SqlWebhookRows:
        """The webhooks and their deliveries."""
        return SqlWebhookRows(self._connection)

    @cached_property
    def messages(self) -> SqlMessageRows:
        """The messages to people."""
        return SqlMessageRows(self._connection, now=self._now)

    @cached_property
    def presence(self) -> SqlPresenceRows:
        """Which workers were there when last looked."""
        return SqlPresenceRows(self._connection, now=self._now)

    @cached_property
    def schedules(self) -> SqlScheduleRows:
        """The schedules and their fires."""
        return SqlScheduleRows(self._connection)

    @cached_property
    def roles(self) -> SqlRoleRows:
        """Who does what is done by one controller for all."""
        return SqlRoleRows(self._connection, now=self._now)

    @cached_property
    def installation(self) -> SqlInstallationRows:
        """What holds for the installation as a whole."""
        return SqlInstallationRows(self._connection)

    @cached_property
    def audit(self) -> SqlAuditRows:
        """Who did what."""
        return SqlAuditRows(self._connection, ids=self._ids, now=self._now)


class SqlStore:
    """Opens units of work on one database.

    Args:
        database: SQLite's or PostgreSQL's.
        clock: The present moment, for a database whose clock is its only controller's.
        ids: Names for what is made.
        moment: Returns the moment at which a unit of work began by the database's own clock.
    """

    def __init__(
        self, database: Database, *, clock: Clock, ids: Ids, moment: Callable[[Connection], datetime] | None = None
    ) -> None:
        self._database = database
        self._moment = moment or (lambda _: clock())
        self._ids = ids

    @classmethod
    async def open(
        cls, address: Path | str, *, clock: Clock, ids: Ids, database_clock: bool = True, synchronous: str = "FULL"
    ) -> "SqlStore":
        """Opens a file of SQLite or the address of a PostgreSQL database.

        The schema must be there, or be made by create_schema. Several controllers go by PostgreSQL's clock; a test
        may prefer its own.
        """
        if isinstance(address, Path):
            return cls(await SqliteDatabase(address, synchronous=synchronous).open(), clock=clock, ids=ids)
        # Only who has such a database pays for its driver.
        from lodeworks_controller.storage.database.postgres import PostgresDatabase, moment_of  # noqa: PLC0415

        database = await PostgresDatabase(address).open()
        return cls(database, clock=clock, ids=ids, moment=moment_of if database_clock else None)

    def measure_commits(self, notice: Callable[[float, int], None]) -> None:
        """Tells of each commit from now on: its seconds, and how many units of work shared it."""
        self._database.measure_commits(notice)

    async def create_schema(self) -> None:
        """Creates every table that is missing."""
        await self._database.create_schema()

    async def close(self) -> None:
        """Closes the database."""
        await self._database.close()

    @asynccontextmanager
    async def transaction(self, *, brief: bool = False, heartbeat: bool = False) -> AsyncIterator[SqlTransaction]:
        """Opens a unit of work that may write; left without an error it is durable, else it never was."""
        async with self._database.write(brief=brief, heartbeat=heartbeat) as connection:
            yield SqlTransaction(connection, now=self._moment(connection), ids=self._ids)

    @asynccontextmanager
    async def snapshot(self, *, brief: bool = False) -> AsyncIterator[SqlTransaction]:
        """Opens a unit of work that only reads, beside the writer, at one moment's state."""
        async with self._database.read(brief=brief) as connection:
            yield SqlTransaction(connection, now=self._moment(connection), ids=self._ids)
