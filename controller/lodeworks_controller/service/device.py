"""Devices as people administer them: announced, shown, labelled, revoked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from lodeworks_controller.domain.device import Device, DeviceState
from lodeworks_controller.domain.identity import AgentIdentity, AgentKind, Principal, ProjectRole, check_name
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.content_scope import device_scope
from lodeworks_controller.service.enrolment import DEVICE_TOKEN_LIFETIME, EnrolmentService
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes

SYNC_WAIT_S: Final = 60.0
"""How long a device's call stays open when there is nothing new."""

SILENT_AFTER_S: Final = 2 * SYNC_WAIT_S + 30.0
LONGEST_LOOK_S: Final = 30.0
_LABELS: Final = 32
_LABEL_LENGTH: Final = 100


class DeviceRows(Protocol):
    """The devices as one transaction sees them. No method commits."""

    async def get(self, device_id: str) -> Device:
        """Returns the device, or raises NotFoundError."""
        ...

    async def find(self, project_id: str, name_or_id: str) -> Device:
        """Returns the device of that name or id in a project, or raises NotFoundError."""
        ...

    async def insert(self, device: Device) -> None:
        """Stores a new device; raises ExistsError if the name is taken."""
        ...

    async def put(self, device: Device) -> None:
        """Stores how a device stands."""
        ...

    async def delete(self, device_id: str) -> None:
        """Removes a device."""
        ...

    async def list(self, project_id: str, *, after_name: str, limit: int) -> Sequence[Device]:
        """Returns the devices of a project by name."""
        ...


@dataclass(frozen=True, slots=True)
class ShownDevice:
    """A device with what follows from the moment: its state, and when its certificate ends."""

    device: Device
    state: DeviceState
    certificate_end_at: datetime | None


@dataclass(frozen=True, slots=True)
class DevicePage:
    """Some devices by name, and the name to go on after; empty on the last page."""

    devices: tuple[ShownDevice, ...]
    next_name: str


@dataclass(frozen=True, slots=True)
class AnnouncedDevice:
    """A device that may enrol with this one-time token."""

    shown: ShownDevice
    token: str


async def shown(tx: Transaction, device: Device) -> ShownDevice:
    """Returns a device as people see it now."""
    agent = await tx.agents.get(identity_of(device.id))
    state = device.state(at=tx.now(), silent_after_s=SILENT_AFTER_S)
    return ShownDevice(device, state, None if agent is None else agent.certificate_expires_at)


def identity_of(device_id: str) -> AgentIdentity:
    """Returns whom a device's certificate names."""
    return AgentIdentity(AgentKind.DEVICE, device_id)


def content_scope(device_id: str) -> str:
    """Returns the scope that refers to what a device may read."""
    return device_scope(device_id).readable[0]


async def admit_device(tx: Transaction, identity: AgentIdentity, hostname: str) -> None:
    """Notes on a device's row that it enrolled."""
    del hostname  # its reported state says where it lives
    device = await tx.devices.get(identity.id)
    await tx.devices.put(replace(device, enrolled_at=tx.now(), revision=device.revision + 1))


class DeviceService:
    """Announces, shows and revokes devices."""

    def __init__(self, store: Store, *, enrolment: EnrolmentService, wakes: Wakes, ids: Ids) -> None:
        self._store = store
        self._enrolment = enrolment
        self._wakes = wakes
        self._ids = ids

    async def add(
        self,
        principal: Principal,
        project: str,
        name: str,
        *,
        labels: Mapping[str, str],
        lifetime: timedelta | None = None,
        request_id: str = "",
    ) -> AnnouncedDevice:
        """Announces a device and makes its one-time token."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "device.add", request_id)
            made = await once.result(tx)
            if made is not None:
                device = await tx.devices.get(made)
                return AnnouncedDevice(
                    await shown(tx, device), await self._enrolment.announced(tx, identity_of(device.id))
                )
            device = Device(self._ids(), project_id, check_name(name), tx.now(), labels=_checked(labels))
            await tx.devices.insert(device)
            token = await self._enrolment.announce(
                tx, identity_of(device.id), name=name, lifetime=lifetime or DEVICE_TOKEN_LIFETIME
            )
            await once.keep(tx, device.id)
            await tx.audit.add("device.add", device.id, actor=principal.actor, project_id=project_id)
            return AnnouncedDevice(await shown(tx, device), token)

    async def get(
        self, principal: Principal, project: str, name_or_id: str, *, after_revision: int = 0, wait_s: float = 0.0
    ) -> ShownDevice:
        """Returns a device; with a revision, waits up to so long for a higher one."""
        now = await self._look(principal, project, name_or_id)
        if not 0 < now.device.revision <= after_revision or wait_s <= 0:
            return now
        with self._wakes.watching(now.device.id) as signal:
            # Again under the signal: a change between the look and the watch would be missed otherwise.
            now = await self._look(principal, project, name_or_id)
            if now.device.revision <= after_revision:
                await signal.wait(min(wait_s, LONGEST_LOOK_S))
                now = await self._look(principal, project, name_or_id)
        return now

    async def list(
        self, principal: Principal, project: str, *, labels: Mapping[str, str], after_name: str, limit: int
    ) -> DevicePage:
        """Returns the devices of a project by name, those with all of the labels."""
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            found = await tx.devices.list(project_id, after_name=after_name, limit=limit)
            kept = [device for device in found if labels.items() <= dict(device.labels).items()]
            following = found[-1].name if len(found) == limit else ""
            return DevicePage(tuple([await shown(tx, device) for device in kept]), following)

    async def label(
        self,
        principal: Principal,
        project: str,
        name_or_id: str,
        *,
        labels: Mapping[str, str],
        remove: Sequence[str],
        request_id: str = "",
    ) -> ShownDevice:
        """Sets and removes labels."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "device.label", request_id)
            made = await once.result(tx)
            device = await tx.devices.find(project_id, made or name_or_id)
            if made is None:
                kept = {key: value for key, value in {**device.labels, **labels}.items() if key not in set(remove)}
                device = replace(device, labels=_checked(kept), revision=device.revision + 1)
                await tx.devices.put(device)
                await once.keep(tx, device.id)
                await tx.audit.add("device.label", device.id, actor=principal.actor, project_id=project_id)
                tx.on_commit(lambda: self._wakes.task_changed(device.id))
            return await shown(tx, device)

    async def revoke(self, principal: Principal, project: str, name_or_id: str, *, request_id: str = "") -> ShownDevice:
        """Ends a device's certificate; it keeps serving but gets nothing new. Repeating it is harmless."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.OWNER)).id
            once = Once(principal.actor, "device.revoke", request_id)
            made = await once.result(tx)
            device = await tx.devices.find(project_id, made or name_or_id)
            if device.revoked_at is None:
                device = await self._end(tx, device)
                await once.keep(tx, device.id)
                await tx.audit.add("device.revoke", device.id, actor=principal.actor, project_id=project_id)
            return await shown(tx, device)

    async def delete(self, principal: Principal, project: str, name_or_id: str, *, request_id: str = "") -> None:
        """Forgets a device and ends its certificate."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.OWNER)).id
            once = Once(principal.actor, "device.delete", request_id)
            if await once.result(tx) is not None:
                return
            device = await self._end(tx, await tx.devices.find(project_id, name_or_id))
            await tx.devices.delete(device.id)
            await tx.blobs.release(content_scope(device.id))
            await once.keep(tx, device.id)
            await tx.audit.add("device.delete", device.id, actor=principal.actor, project_id=project_id)

    async def _end(self, tx: Transaction, device: Device) -> Device:
        await self._enrolment.revoke(tx, identity_of(device.id))
        ended = replace(device, revoked_at=tx.now(), revision=device.revision + 1)
        await tx.devices.put(ended)
        tx.on_commit(lambda: self._wakes.task_changed(device.id))
        return ended

    async def _look(self, principal: Principal, project: str, name_or_id: str) -> ShownDevice:
        async with self._store.snapshot() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.VIEWER)).id
            return await shown(tx, await tx.devices.find(project_id, name_or_id))


def _checked(labels: Mapping[str, str]) -> dict[str, str]:
    """Returns labels if a device may have them, or refuses."""
    if len(labels) > _LABELS or any(not 0 < len(key) <= _LABEL_LENGTH for key in labels):
        raise InvalidError("LABEL_INVALID", f"a device has at most {_LABELS} labels of 1 to {_LABEL_LENGTH} characters")
    return dict(labels)
