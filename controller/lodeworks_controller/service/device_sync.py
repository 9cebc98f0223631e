"""What a device hears and tells: its document when there is a newer one, its reported state as it stands."""

import json
from datetime import datetime

from lodeworks_controller.domain.device import Device, Document, Report
from lodeworks_controller.domain.identity import AgentIdentity
from lodeworks_controller.errors import InvalidError, PermissionDeniedError
from lodeworks_controller.service.deployment import DesiredStates, desired_key
from lodeworks_controller.service.device import SYNC_WAIT_S
from lodeworks_controller.service.events import device_reported
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes

_LARGEST_REPORT_BYTES = 256 * 1024


class DeviceSyncService:
    """Serves devices. Every call names the device by its certificate."""

    def __init__(self, store: Store, *, states: DesiredStates, wakes: Wakes) -> None:
        self._store = store
        self._states = states
        self._wakes = wakes

    async def sync(self, identity: AgentIdentity, report: Report, *, wait_s: float) -> Document | None:
        """Takes a report and returns a document newer than the observed one; waits for it, None when none comes."""
        wait_s = min(wait_s if wait_s > 0 else SYNC_WAIT_S, SYNC_WAIT_S)
        with self._wakes.watching(desired_key(identity.id)) as signal:
            document = _newer(await self._observe(identity, report), report.observed_generation)
            if document is not None or self._wakes.closing:
                return document
            await signal.wait(wait_s)
        async with self._store.snapshot() as tx:
            return _newer(await _good(tx, identity), report.observed_generation)

    async def require_known(self, identity: AgentIdentity) -> None:
        """Refuses a device that was removed or revoked."""
        async with self._store.snapshot() as tx:
            await _good(tx, identity)

    async def _observe(self, identity: AgentIdentity, report: Report) -> Device:
        async with self._store.transaction() as tx:
            before = await _good(tx, identity)
            device = before.observe(report, at=tx.now())
            await device_reported(tx, before, device)
            if self._must_sign_again(device, at=tx.now()):
                ahead = device.observed_generation > device.generation
                await tx.audit.add(
                    "device.sign_again", device.id, project_id=device.project_id, detail={"ahead": ahead}
                )
                return await self._states.put(tx, device.next_generation())
            await tx.devices.put(device)
            if device.revision != before.revision:
                tx.on_commit(lambda: self._wakes.task_changed(device.id))
            return device

    def _must_sign_again(self, device: Device, *, at: datetime) -> bool:
        """Says whether the document is half worn, or the device has seen a generation of a newer life of ours."""
        worn = device.document is not None and device.document.is_worn(at=at)
        return worn or device.observed_generation > device.generation


def read_report(data: bytes, *, boot_id: str, seq: int, observed_generation: int, version: str) -> Report:
    """Returns a device's report, or raises InvalidError REPORT_INVALID."""
    if len(data) > _LARGEST_REPORT_BYTES:
        raise InvalidError("REPORT_INVALID", f"a reported state has at most {_LARGEST_REPORT_BYTES} bytes")
    state = None
    if data:
        try:
            state = json.loads(data)
        except ValueError as error:
            raise InvalidError("REPORT_INVALID", f"the reported state is no JSON ({error})") from error
        if not isinstance(state, dict):
            raise InvalidError("REPORT_INVALID", "the reported state is no JSON object")
    return Report(boot_id, seq, observed_generation, version, state)


def _newer(device: Device, observed_generation: int) -> Document | None:
    return device.document if device.generation > observed_generation else None


async def _good(tx: Transaction, identity: AgentIdentity) -> Device:
    device = await tx.devices.get(identity.id)
    if device.revoked_at is not None:
        raise PermissionDeniedError("CERTIFICATE_REVOKED", f"device {device.name} was revoked; have it added again")
    return device
