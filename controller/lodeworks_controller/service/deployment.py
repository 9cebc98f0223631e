"""Deployment: each wish is a new generation of a device's signed desired state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lodeworks_controller.domain.algorithm import Package, Release
from lodeworks_controller.domain.device import (
    DOCUMENT_LIFETIME,
    DesiredAlgorithm,
    DesiredPhase,
    Device,
    Document,
    choose_package,
)
from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.errors import ConflictError, InvalidError
from lodeworks_controller.service.algorithm import find_release
from lodeworks_controller.service.device import ShownDevice, content_scope, shown
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.release import DocumentSigner
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes

_RELEASES_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Wish:
    """A release for some devices: which variant (empty = the fastest measured one that fits) and which threshold."""

    devices: tuple[str, ...]
    algorithm: str
    variant: str = ""
    confidence: float | None = None
    unfit_allowed: bool = False


class DesiredStates:
    """Signs desired states and puts them where devices read them, inside the caller's unit of work."""

    def __init__(self, signer: DocumentSigner, *, wakes: Wakes) -> None:
        self._signer = signer
        self._wakes = wakes

    async def put(self, tx: Transaction, device: Device) -> Device:
        """Signs the device's document, stores both, and wakes those who wait for it."""
        signed = self._signer.sign(device.document_members(at=tx.now()))
        document = Document(signed.document, signed.signature, signed.key_id, tx.now() + DOCUMENT_LIFETIME)
        ready = replace(device, document=document)
        await tx.devices.put(ready)
        for key in (device.id, desired_key(device.id)):
            tx.on_commit(partial(self._wakes.task_changed, key))
        return ready


def desired_key(device_id: str) -> str:
    """Returns the key under which a device's own call waits: news that it told itself must not end its wait."""
    return f"desired:{device_id}"


class DeploymentService:
    """Says what devices shall run."""

    def __init__(self, store: Store, *, states: DesiredStates) -> None:
        self._store = store
        self._states = states

    async def deploy(
        self, principal: Principal, project: str, wish: Wish, *, request_id: str = ""
    ) -> Sequence[ShownDevice]:
        """Wants a release to run on devices: on all of them, or on none where one is refused."""
        _check_confidence(wish.confidence)
        if not wish.devices:
            raise InvalidError("DEVICE_MISSING", "name at least one device", field="devices")
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "device.deploy", request_id)
            made = await once.result(tx)
            found = [await tx.devices.find(project_id, name) for name in dict.fromkeys(wish.devices)]
            if made is not None:
                return [await shown(tx, device) for device in found]
            release = await find_release(tx, project_id, wish.algorithm)
            release.require_released()
            wanted = [await self._deploy(tx, device, release, wish) for device in found]
            await once.keep(tx, release.id)
            for device in wanted:
                await self._audit(tx, principal, device, "device.deploy", {"release": release.full_name})
            return [await shown(tx, device) for device in wanted]

    async def configure(
        self,
        principal: Principal,
        project: str,
        device: str,
        algorithm: str,
        *,
        confidence: float | None,
        request_id: str = "",
    ) -> ShownDevice:
        """Changes the threshold of an algorithm on a device; None = the package's own."""
        _check_confidence(confidence)

        def changed(entry: DesiredAlgorithm) -> DesiredAlgorithm:
            return replace(entry, confidence=confidence)

        once = Once(principal.actor, "device.set", request_id)
        return await self._change(principal, project, device, algorithm, change=changed, once=once)

    async def set_phase(
        self,
        principal: Principal,
        project: str,
        device: str,
        algorithm: str,
        *,
        phase: DesiredPhase,
        request_id: str = "",
    ) -> ShownDevice:
        """Starts, stops or takes away an algorithm on a device."""

        def changed(entry: DesiredAlgorithm) -> DesiredAlgorithm:
            return replace(entry, phase=phase)

        once = Once(principal.actor, f"device.{phase.value}", request_id)
        return await self._change(principal, project, device, algorithm, change=changed, once=once)

    async def rollback(
        self, principal: Principal, project: str, device: str, algorithm: str, *, request_id: str = ""
    ) -> ShownDevice:
        """Wants the release that was committed before."""
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            once = Once(principal.actor, "device.rollback", request_id)
            made = await once.result(tx)
            found = await tx.devices.find(project_id, made or device)
            if made is not None:
                return await shown(tx, found)
            entry = found.wanted(algorithm)
            release, package = await _previous(tx, found, entry)
            back = _entry(release, package, confidence=entry.confidence, before=entry)
            wanted = await self._put(tx, found.want(back), package)
            await once.keep(tx, wanted.id)
            await self._audit(tx, principal, wanted, "device.rollback", {"release": release.full_name})
            return await shown(tx, wanted)

    async def _change(
        self, principal: Principal, project: str, device: str, algorithm: str, *, change: Any, once: Once
    ) -> ShownDevice:
        async with self._store.transaction() as tx:
            project_id = (await enter(tx, principal, project, ProjectRole.EDITOR)).id
            made = await once.result(tx)
            found = await tx.devices.find(project_id, made or device)
            if made is not None:
                return await shown(tx, found)
            entry = found.wanted(algorithm)
            changed = change(entry)
            if changed != entry:
                found = await self._states.put(tx, found.want(changed))
                await self._audit(tx, principal, found, once.method, {"algorithm": algorithm})
            await once.keep(tx, found.id)
            return await shown(tx, found)

    async def _deploy(self, tx: Transaction, device: Device, release: Release, wish: Wish) -> Device:
        if device.revoked_at is not None:
            raise ConflictError("DEVICE_REVOKED", f"device {device.name} was revoked; add it again", device=device.name)
        package = choose_package(release.packages, device, variant=wish.variant, unfit_allowed=wish.unfit_allowed)
        before = next((entry for entry in device.desired if entry.name == release.name), None)
        entry = _entry(release, package, confidence=wish.confidence, before=before)
        return await self._put(tx, device.want(entry), package)

    async def _put(self, tx: Transaction, device: Device, package: Package) -> Device:
        await tx.blobs.reference(content_scope(device.id), [blob.digest for blob in package.blobs])
        return await self._states.put(tx, device)

    async def _audit(
        self, tx: Transaction, principal: Principal, device: Device, action: str, detail: Mapping[str, Any]
    ) -> None:
        await tx.audit.add(
            action,
            device.id,
            actor=principal.actor,
            project_id=device.project_id,
            detail={**detail, "generation": device.generation},
        )


def _entry(
    release: Release, package: Package, *, confidence: float | None, before: DesiredAlgorithm | None
) -> DesiredAlgorithm:
    entry = DesiredAlgorithm(
        name=release.name,
        release_id=release.id,
        release_name=release.full_name,
        release_number=release.number,
        release_path=release.target_path,
        package_id=package.id,
        variant=package.variant,
        confidence=confidence,
    )
    if before is None:
        return entry
    if before.package_id == package.id:
        return replace(
            entry,
            previous_release_id=before.previous_release_id,
            previous_package_id=before.previous_package_id,
        )
    return replace(entry, previous_release_id=before.release_id, previous_package_id=before.package_id)


async def _previous(tx: Transaction, device: Device, entry: DesiredAlgorithm) -> tuple[Release, Package]:
    """Returns what to go back to: what the device answers with now if that is not what is wanted, else what was before.

    The device knows best what it had committed; our own memory of what was wanted stands in while it is silent.
    """
    told = device.reported_algorithm(entry.name)
    active, previous = package_id_of(told.get("active")), package_id_of(told.get("previous"))
    goal = active if active and active != entry.package_id else previous or entry.previous_package_id
    now = await tx.algorithms.release(entry.release_id)
    candidates = await tx.algorithms.releases(now.algorithm_id, before_number=None, limit=_RELEASES_LOOKED_AT)
    for release in candidates if goal else ():
        package = release.package(goal)
        if package is not None and release.target_path:
            return release, package
    raise ConflictError(
        "NO_PREVIOUS_RELEASE",
        f"device {device.name} had no other release of {entry.name} before; deploy one by its number",
        device=device.name,
    )


def package_id_of(told: Any) -> str:
    """Returns the package id in a device's word about a version: the id itself, or an object that holds it."""
    if isinstance(told, Mapping):
        told = told.get("package_id")
    return told if isinstance(told, str) else ""


def _check_confidence(confidence: float | None) -> None:
    if confidence is not None and not 0.0 <= confidence <= 1.0:
        raise InvalidError(
            "CONFIDENCE_INVALID", f"a confidence is between 0 and 1, not {confidence:g}", field="confidence"
        )
