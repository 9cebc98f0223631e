"""The workers in SQL: a GPU slot is a row with a unique key."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    RowMapping,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from lodeworks_controller.domain.worker import Capabilities, Directive, DirectiveKind, Gpu, Worker
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.prepared import prepared
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata
from lodeworks_controller.storage.database.upsert import insert_new

workers = Table(
    "workers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("labels", JsonText, nullable=False),
    Column("enrolled", Boolean, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("version", String(40), nullable=False),
    Column("hostname", String(255), nullable=False),
    Column("capabilities", JsonText, nullable=False),
    Column("session", String(26), nullable=False),
    Column("session_epoch", BigInteger, nullable=False),
    Column("boot_id", String(80), nullable=False),
    Column("last_seen_at", Instant),
)

gpu_slots = Table(
    "gpu_slots",
    metadata,
    Column("worker_id", Id, ForeignKey("workers.id"), nullable=False),
    Column("uuid", String(80), nullable=False),
    Column("model", String(120), nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("task_id", String(26), nullable=False),
    PrimaryKeyConstraint("worker_id", "uuid"),
    Index(None, "task_id"),
)

directives = Table(
    "directives",
    metadata,
    Column("worker_id", Id, ForeignKey("workers.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("kind", String(12), nullable=False),
    Column("task_id", String(26), nullable=False),
    Column("lease_epoch", BigInteger, nullable=False),
    PrimaryKeyConstraint("worker_id", "seq"),
)


# Built once: building a statement costs several times what running it costs.
_GET = prepared(select(workers).where(workers.c.id == bindparam("worker_id")))
_GPUS = prepared(select(gpu_slots).where(gpu_slots.c.worker_id == bindparam("worker_id")).order_by(gpu_slots.c.uuid))
_ALL_GPUS = select(gpu_slots).order_by(gpu_slots.c.worker_id, gpu_slots.c.uuid)
_DIRECTIVES = prepared(
    select(directives.c.seq, directives.c.kind, directives.c.task_id, directives.c.lease_epoch)
    .where(directives.c.worker_id == bindparam("worker_id"), directives.c.seq > bindparam("after_seq"))
    .order_by(directives.c.seq)
)

_SEEN = (
    update(workers).where(workers.c.id == bindparam("worker_id")).values(last_seen_at=bindparam("at", type_=Instant))
)
_DIRECTED = prepared(
    select(directives.c.worker_id, func.max(directives.c.seq).label("seq")).group_by(directives.c.worker_id)
)


class SqlWorkerRows:
    """The workers on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, worker_id: str) -> Worker:
        """Returns the worker, or raises NotFoundError."""
        row = (await self._connection.execute(_GET, {"worker_id": worker_id})).mappings().one_or_none()
        if row is None:
            raise NotFoundError("WORKER_NOT_FOUND", f"worker {worker_id} was removed; enrol again")
        return _to_worker(row)

    async def find(self, name_or_id: str) -> Worker:
        """Returns the worker of that name or id, or raises NotFoundError."""
        query = select(workers).where(or_(workers.c.id == name_or_id, workers.c.name == name_or_id))
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise NotFoundError("WORKER_NOT_FOUND", f"there is no worker {name_or_id}; see `lode worker ls`")
        return _to_worker(row)

    async def insert(self, worker: Worker) -> None:
        """Stores a new worker; raises ExistsError if the name is taken."""
        if not (await self._connection.execute(insert_new(workers), _values(worker))).rowcount:
            message = f"there is a worker named {worker.name} already; choose another name"
            raise ExistsError("WORKER_EXISTS", message)

    async def put(self, worker: Worker) -> None:
        """Stores how a worker stands."""
        await self._connection.execute(update(workers).where(workers.c.id == worker.id).values(_values(worker)))

    async def seen(self, worker_ids: Sequence[str], *, at: datetime) -> None:
        """Notes that workers were heard of."""
        rows = [{"worker_id": worker_id, "at": at} for worker_id in worker_ids]
        if rows:
            await self._connection.execute(_SEEN, rows)

    async def directed(self) -> Mapping[str, int]:
        """Returns the newest order of each worker that has some: worker id → seq."""
        rows = (await self._connection.execute(_DIRECTED)).mappings()
        return {row["worker_id"]: row["seq"] for row in rows}

    async def delete(self, worker_id: str) -> None:
        """Removes a worker, its GPUs and its directives."""
        for table in (directives, gpu_slots):
            await self._connection.execute(delete(table).where(table.c.worker_id == worker_id))
        await self._connection.execute(delete(workers).where(workers.c.id == worker_id))

    async def list(self) -> Sequence[Worker]:
        """Returns the workers by name."""
        rows = (await self._connection.execute(select(workers).order_by(workers.c.name))).mappings()
        return [_to_worker(row) for row in rows]

    async def gpus(self, worker_id: str) -> Sequence[Gpu]:
        """Returns the GPUs of a worker, by uuid."""
        rows = (await self._connection.execute(_GPUS, {"worker_id": worker_id})).mappings()
        return _by_worker(rows).get(worker_id, [])

    async def all_gpus(self) -> Mapping[str, Sequence[Gpu]]:
        """Returns the GPUs by worker id."""
        return _by_worker((await self._connection.execute(_ALL_GPUS)).mappings())

    async def put_gpus(self, worker_id: str, gpus: Sequence[Gpu]) -> None:
        """Stores which GPUs a worker has now; those held stay held."""
        held = {gpu.uuid: gpu for gpu in await self.gpus(worker_id)}
        wanted = {gpu.uuid: gpu for gpu in gpus}
        gone = [uuid for uuid, gpu in held.items() if uuid not in wanted and not gpu.task_id]
        if gone:
            slots = delete(gpu_slots).where(gpu_slots.c.worker_id == worker_id, gpu_slots.c.uuid.in_(gone))
            await self._connection.execute(slots)
        new = [{**asdict(gpu), "worker_id": worker_id} for uuid, gpu in wanted.items() if uuid not in held]
        if new:
            await self._connection.execute(insert(gpu_slots), new)

    async def hold_gpus(self, worker_id: str, uuids: Sequence[str], *, task_id: str) -> bool:
        """Gives free GPUs to a task, all or none; says whether it got them."""
        free = gpu_slots.c.task_id == ""
        mine = (gpu_slots.c.worker_id == worker_id, gpu_slots.c.uuid.in_(uuids), free)
        count = select(func.count()).select_from(gpu_slots).where(*mine)
        if (await self._connection.execute(count)).scalar_one() != len(uuids):
            return False
        await self._connection.execute(update(gpu_slots).where(*mine).values(task_id=task_id))
        return True

    async def gpus_of(self, task_id: str) -> Sequence[str]:
        """Returns the uuids that a task holds."""
        query = select(gpu_slots.c.uuid).where(gpu_slots.c.task_id == task_id).order_by(gpu_slots.c.uuid)
        return (await self._connection.execute(query)).scalars().all()

    async def free_gpus(self, task_id: str) -> None:
        """Takes a task's GPUs back."""
        await self._connection.execute(update(gpu_slots).where(gpu_slots.c.task_id == task_id).values(task_id=""))

    async def add_directive(
        self, worker_id: str, kind: DirectiveKind, *, task_id: str = "", lease_epoch: int = 0
    ) -> None:
        """Notes an order for the worker's session."""
        highest = select(func.coalesce(func.max(directives.c.seq), 0)).where(directives.c.worker_id == worker_id)
        row = {
            "worker_id": worker_id,
            "seq": (await self._connection.execute(highest)).scalar_one() + 1,
            "kind": kind.value,
            "task_id": task_id,
            "lease_epoch": lease_epoch,
        }
        await self._connection.execute(insert(directives), row)

    async def directives(self, worker_id: str, *, after_seq: int) -> Sequence[Directive]:
        """Returns the orders that the worker has not acted on."""
        asked = {"worker_id": worker_id, "after_seq": after_seq}
        rows = (await self._connection.execute(_DIRECTIVES, asked)).mappings()
        return [Directive(**{**row, "kind": DirectiveKind(row["kind"])}) for row in rows]

    async def clear_directives(self, worker_id: str) -> None:
        """Forgets the orders of a session that is over."""
        await self._connection.execute(delete(directives).where(directives.c.worker_id == worker_id))


def _by_worker(rows: Iterable[RowMapping]) -> dict[str, list[Gpu]]:
    found: dict[str, list[Gpu]] = {}
    for row in rows:
        values = dict(row)
        found.setdefault(values.pop("worker_id"), []).append(Gpu(**values))
    return found


def _values(worker: Worker) -> dict[str, Any]:
    told = worker.capabilities
    return {
        **{name: getattr(worker, name) for name in _SAME},
        "labels": dict(worker.labels),
        "capabilities": {
            "cpus": told.cpus,
            "memory_bytes": told.memory_bytes,
            "disk_bytes": told.disk_bytes,
            "names": sorted(told.names),
            "labels": dict(told.labels),
            "missing": dict(told.missing),
            "max_runs": told.max_runs,
        },
    }


_SAME = (
    "id",
    "name",
    "created_at",
    "enrolled",
    "draining",
    "version",
    "hostname",
    "session",
    "session_epoch",
    "boot_id",
    "last_seen_at",
)


def _to_worker(row: RowMapping) -> Worker:
    told = row["capabilities"]
    return Worker(
        **{name: row[name] for name in _SAME},
        labels=row["labels"],
        capabilities=Capabilities(**{**told, "names": frozenset(told["names"])}),
    )
