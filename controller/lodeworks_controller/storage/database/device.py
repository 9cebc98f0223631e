"""Devices in SQL: desired and reported state side by side."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    UniqueConstraint,
    delete,
    select,
    update,
)

from lodeworks_controller.domain.device import DesiredAlgorithm, DesiredPhase, Device, Document
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata
from lodeworks_controller.storage.database.upsert import insert_new

devices = Table(
    "devices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("name", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("labels", JsonText, nullable=False),
    Column("enrolled_at", Instant),
    Column("revoked_at", Instant),
    Column("generation", BigInteger, nullable=False),
    Column("observed_generation", BigInteger, nullable=False),
    Column("desired", JsonText, nullable=False),
    Column("document", LargeBinary),
    Column("signature", LargeBinary),
    Column("key_id", String(64)),
    Column("document_expires_at", Instant),
    Column("boot_id", String(80), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("reported", JsonText, nullable=False),
    Column("version", String(40), nullable=False),
    Column("last_seen_at", Instant),
    Column("revision", Integer, nullable=False),
    UniqueConstraint("project_id", "name"),
)


class SqlDeviceRows:
    """The devices on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, device_id: str) -> Device:
        """Returns the device, or raises NotFoundError."""
        row = (await self._connection.execute(select(devices).where(devices.c.id == device_id))).mappings().first()
        if row is None:
            raise NotFoundError("DEVICE_NOT_FOUND", f"device {device_id} was removed; enrol again", id=device_id)
        return _to_device(row)

    async def find(self, project_id: str, name_or_id: str) -> Device:
        """Returns the device of that name or id in a project, or raises NotFoundError."""
        query = select(devices).where(
            devices.c.project_id == project_id, (devices.c.id == name_or_id) | (devices.c.name == name_or_id)
        )
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            message = f"the project has no device {name_or_id!r}; see `lode device ls`"
            raise NotFoundError("DEVICE_NOT_FOUND", message, name=name_or_id)
        return _to_device(row)

    async def insert(self, device: Device) -> None:
        """Stores a new device; raises ExistsError if the name is taken."""
        if not (await self._connection.execute(insert_new(devices), _values(device))).rowcount:
            message = f"the project has a device named {device.name} already; choose another name"
            raise ExistsError("DEVICE_EXISTS", message, name=device.name)

    async def put(self, device: Device) -> None:
        """Stores how a device stands."""
        await self._connection.execute(update(devices).where(devices.c.id == device.id).values(_values(device)))

    async def delete(self, device_id: str) -> None:
        """Removes a device."""
        await self._connection.execute(delete(devices).where(devices.c.id == device_id))

    async def list(self, project_id: str, *, after_name: str, limit: int) -> Sequence[Device]:
        """Returns the devices of a project by name."""
        query = (
            select(devices)
            .where(devices.c.project_id == project_id, devices.c.name > after_name)
            .order_by(devices.c.name)
            .limit(limit)
        )
        return [_to_device(row) for row in (await self._connection.execute(query)).mappings()]


_PLAIN = (
    *("id", "project_id", "name", "created_at", "enrolled_at", "revoked_at", "generation"),
    *("observed_generation", "boot_id", "seq", "version", "last_seen_at", "revision"),
)


def _values(device: Device) -> dict[str, Any]:
    document = device.document
    return {
        **{name: getattr(device, name) for name in _PLAIN},
        "labels": dict(device.labels),
        "reported": dict(device.reported),
        "desired": [{**asdict(entry), "phase": entry.phase.value} for entry in device.desired],
        "document": None if document is None else document.data,
        "signature": None if document is None else document.signature,
        "key_id": None if document is None else document.key_id,
        "document_expires_at": None if document is None else document.expires_at,
    }


def _to_device(row: RowMapping) -> Device:
    document = None
    if row["document"] is not None:
        document = Document(row["document"], row["signature"], row["key_id"], row["document_expires_at"])
    return Device(
        **{name: row[name] for name in _PLAIN},
        labels=row["labels"],
        reported=row["reported"],
        desired=tuple(DesiredAlgorithm(**{**entry, "phase": DesiredPhase(entry["phase"])}) for entry in row["desired"]),
        document=document,
    )
