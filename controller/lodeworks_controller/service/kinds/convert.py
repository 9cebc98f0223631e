"""The kind `convert`: a stage in, measured packages out; the guard decides whether they become a candidate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lodeworks_formats import task_inputs as roles
from lodeworks_formats.task_inputs import ConvertOptions

from lodeworks_controller.domain.algorithm import ClassDrop, Measurement, Package, Release
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.task.run import Input, Output, OutputSlot, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import BadOutputError, GuardError, InvalidError
from lodeworks_controller.service.algorithm import ReleaseSigner, blobs_of
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.kinds.base import Commit, Product, RunPlan
from lodeworks_controller.service.labelled import require_annotated
from lodeworks_controller.service.package import Measured, PackageIntake
from lodeworks_controller.service.publishing import CONVERT, RELEASE
from lodeworks_controller.service.run_files import options_input
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.view import ViewService

_MAX_REPORT_BYTES: Final = 32 << 20


class ConvertKind:
    """Conversions."""

    name = CONVERT

    def __init__(
        self,
        store: Store,
        *,
        blobs: BlobStore,
        views: ViewService,
        intake: PackageIntake,
        signer: ReleaseSigner,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._views = views
        self._intake = intake
        self._signer = signer

    async def prepare(self, task: Task) -> RunPlan:
        """Builds the run: the stage's ONNX, pictures to calibrate with, labelled pictures to guard with."""
        spec = task.spec
        async with self._store.transaction() as tx:
            release = await tx.algorithms.release(spec["release_id"])
            if release.is_failed:
                await tx.algorithms.put_release(release.again())  # the task is tried again
            require_annotated(await tx.datasets.version(spec["guard_version_id"]))
        calibration = await self._views.resolve(spec["calibrate_version_id"], selection=ClassSelection(()))
        guard = await self._views.resolve(
            spec["guard_version_id"],
            selection=ClassSelection(tuple(spec["class_names"])),
            revision=spec["class_revision"],
        )
        name, digest, size_bytes = spec["onnx"]
        return RunSpec(
            executor="builtin:convert",
            operations=(CONVERT,),
            class_names=tuple(spec["class_names"]),
            inputs=(
                Input(f"{roles.MODEL}/{name}", digest, size_bytes),
                Input(roles.CALIBRATION, calibration.digest, calibration.size_bytes),
                Input(roles.GUARD, guard.digest, guard.size_bytes),
                await options_input(self._blobs, _options(spec["options"]).to_bytes()),
            ),
            outputs=(
                OutputSlot(roles.REPORT, required=True),
                OutputSlot(roles.REPORT_HTML),
                OutputSlot(roles.CARD),
                *(OutputSlot(role) for role in _package_roles(spec["options"])),
            ),
            resources=task.resources,
            limits=task.limits,
        )

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Takes the packages in, or refuses them all where one lost too much; signs them where that was wished."""
        found = {output.role: output for output in outputs}
        report = await self._report(found)
        if not report.get("accepted"):
            await self._note_refusal(task, report)
            raise GuardError(_refusal(report), refused=", ".join(map(str, report.get("refused", ()))))
        packages = [await self._package(told, found, task=task, report=report) for told in _variants(report)]
        digests = {role: found[role].digest for role in (roles.REPORT_HTML, roles.CARD) if role in found}
        async with self._store.snapshot() as tx:
            release = await tx.algorithms.release(task.spec["release_id"])
        signed = await self._signer.sign(release, packages) if task.spec["sign"] else None

        async def commit(tx: Transaction) -> Product:
            ready = (await tx.algorithms.release(release.id)).candidate(
                packages,
                report=report,
                report_digest=digests.get(roles.REPORT_HTML, ""),
                card_digest=digests.get(roles.CARD, ""),
            )
            if signed is not None:
                ready = ready.released(path=signed.path, at=tx.now())
                await tx.audit.add("release.sign", ready.id, project_id=ready.project_id, detail={"path": signed.path})
            await tx.algorithms.put_release(ready)
            kept = [*blobs_of(packages), *digests.values(), found[roles.REPORT].digest]
            await tx.blobs.reference(project_scope(ready.project_id), kept)
            return ObjectRef(RELEASE, ready.id, ready.full_name)

        return commit

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Makes the release FAILED; the algorithm stays as it was."""
        del outputs
        release = await tx.algorithms.release(task.spec["release_id"])
        await tx.algorithms.put_release(release.fail(f"its conversion ended early ({reason.value})"))
        return None

    async def _package(
        self, told: Mapping[str, Any], found: Mapping[str, Output], *, task: Task, report: Mapping[str, Any]
    ) -> Package:
        role = str(told.get("role"))
        if role not in found:
            raise BadOutputError(f"the report names {role!r}, which did not come back", file=roles.REPORT)
        measured = Measured(_measurement(told), _statement(told, task=task, report=report))
        try:
            taken = await self._intake.from_archive(found[role].digest, measured=measured)
        except InvalidError as error:
            raise BadOutputError(error.message, file=role) from error
        return taken.package

    async def _note_refusal(self, task: Task, report: Mapping[str, Any]) -> None:
        """Keeps the table of what was tried on the release before the task fails."""
        async with self._store.transaction() as tx:
            release: Release = await tx.algorithms.release(task.spec["release_id"])
            await tx.algorithms.put_release(replace(release, report=dict(report)))

    async def _report(self, found: Mapping[str, Output]) -> dict[str, Any]:
        if roles.REPORT not in found:
            raise BadOutputError("the conversion left no report", file=roles.REPORT)
        try:
            report = json.loads(await self._blobs.read(found[roles.REPORT].digest, limit=_MAX_REPORT_BYTES))
        except ValueError as error:
            raise BadOutputError(f"the report cannot be read ({error})", file=roles.REPORT) from error
        if not isinstance(report, dict) or not isinstance(report.get("variants"), list):
            raise BadOutputError("the report is no JSON object with variants", file=roles.REPORT)
        return report


def _options(given: Mapping[str, Any]) -> ConvertOptions:
    return ConvertOptions(**{**given, "targets": tuple(given["targets"]), "precisions": tuple(given["precisions"])})


def _package_roles(options: Mapping[str, Any]) -> list[str]:
    return [
        roles.package_role(target, precision) for target in options["targets"] for precision in options["precisions"]
    ]


def _variants(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    variants = [told for told in report["variants"] if isinstance(told, Mapping) and told.get("accepted")]
    if not variants:
        raise BadOutputError("the report has no variant", file=roles.REPORT)
    return variants


def _refusal(report: Mapping[str, Any]) -> str:
    """Returns why variants were refused, with the table of what was tried for each."""
    parts = [
        f"{told.get('name')}: {told.get('reason')}\n{told.get('table', '')}"
        for told in report["variants"]
        if isinstance(told, Mapping) and not told.get("accepted")
    ]
    limit = report.get("max_drop")
    return (
        f"the guard refused what loses more than {limit} mAP50:95; nothing was published. allow more with --max-drop, "
        "or leave the precision out\n" + "\n".join(parts)
    )


def _measurement(told: Mapping[str, Any]) -> Measurement:
    latency = told.get("latency") or {}
    per_class, drops = told.get("per_class") or {}, told.get("class_drops") or {}
    return Measurement(
        ap=_number(told.get("map")),
        ap50=_number(told.get("map50")),
        drop=_number(told.get("drop")),
        latency_ms=_number(latency.get("p50_ms")),
        latency_p95_ms=_number(latency.get("p95_ms")),
        speed_up=_number(told.get("speed_up")),
        class_drops=tuple(
            ClassDrop(str(name), _number(per_class.get(name)) or 0.0, _number(drop) or 0.0)
            for name, drop in drops.items()
        ),
    )


def _statement(told: Mapping[str, Any], *, task: Task, report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is signed beside the package: all that was measured, where, and on what."""
    measured = ("map", "map50", "per_class", "drop", "latency", "speed_up", "max_score_delta", "peak_memory_bytes")
    return {
        "model": task.spec["model_name"],
        "guard": task.spec["guard_name"],
        "task_id": task.id,
        "hardware": report.get("hardware", {}),
        "settings": told.get("settings", ""),
        **{key: told.get(key) for key in measured},
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
