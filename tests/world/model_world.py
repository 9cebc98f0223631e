"""Models and devices of a controller, in process, on top of its datasets; worker and device are played."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_world import DatasetWorld, box, picture
from lodeworks_controller.domain.device import Report
from lodeworks_controller.domain.identity import AgentKind
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.device import admit_device, identity_of
from lodeworks_controller.service.enrolment import EnrolmentService, Revocations
from lodeworks_controller.service.training import TrainWish
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.trust.installation import create_trust
from lodeworks_controller.wiring.models import ModelGround, ModelPart
from lodeworks_formats.manifest import canonical_json
from made_package import packed_package

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lodeworks_controller.domain.model import ModelVersion
    from lodeworks_controller.domain.task.task import Task
    from lodeworks_formats.boxes import Box

PROJECT = "cells"


@dataclass
class ModelWorld(DatasetWorld):
    """A project with classes RBC and WBC, and everything from training to device."""

    async def open(self) -> ModelWorld:
        """Opens the datasets and wires the rest onto them."""
        await super().open()
        self.trust = create_trust(self.root / "trust", clock=self.clock)
        self.wakes = Wakes()
        self.content = ContentService(self.store, self.blobs)
        self.revocations = Revocations()
        self.enrolment = EnrolmentService(
            self.store,
            authority=self.trust.authority,
            admissions={AgentKind.DEVICE: admit_device},
            revocations=self.revocations,
            ids=self.ids,
            secrets=self.trust.enrolment_secrets,
        )
        self.part = ModelPart(
            ModelGround(
                store=self.store,
                blobs=self.blobs,
                trust=self.trust,
                wakes=self.wakes,
                terms=LeaseTerms(),
                clock=self.clock,
                ids=self.ids,
                tasks=self.task_service,
                enrolment=self.enrolment,
                content=self.content,
                segments=self.segments,
                views=self.views,
                predictions=self.predictions,
                workspace=self.root / "packages",
            )
        )
        for kind in self.part.kinds():
            self.kinds.add(kind)
        await self.project(PROJECT)
        return self

    async def labelled(self, name: str = "labelled", *, count: int = 6, classes: Sequence[str] = ("RBC", "WBC")) -> str:
        """Imports annotated pictures, each with one box of every class."""
        pictures = [
            picture(f"{name}-{seed}", *(box(label, x=10 + 60 * place) for place, label in enumerate(classes)))
            for seed in range(count)
        ]
        return await self.imported(PROJECT, name, pictures)

    async def task(self, task_id: str) -> Task:
        """Returns a task."""
        return await self.task_service.get(self.administrator, task_id)

    async def outputs(self, contents: Mapping[str, bytes]) -> tuple[Output, ...]:
        """Plays the worker: stores what a run left, by role."""
        stored = {role: await self.blobs.put_bytes(data) for role, data in contents.items()}
        return tuple(Output(role, blob.digest, blob.size_bytes) for role, blob in stored.items())

    async def trained(self, *, files: Sequence[str] = ("best.onnx", "best.pt"), **more: object) -> ModelVersion:
        """Trains a version: the wish, the played run, the finish."""
        values = {"train": "labelled", "val": "labelled", **more}
        made = await self.part.training.train(self.administrator, PROJECT, TrainWish(**values))  # type: ignore[arg-type]
        task = await self.task(made.task_id)
        await self.kinds.get("train").prepare(task)
        await self.finish(task, await self.outputs(stage_files(files, made.version.id)))
        async with self.store.snapshot() as tx:
            return await tx.models.version(made.version.id)

    def packed(self, target: str, precision: str, *, seed: str = "") -> bytes:
        """Returns a packed package that nobody could run: its files are what counts here."""
        return packed_package(
            self.root / f"package-{target}-{precision}-{seed}", target=target, precision=precision, seed=seed
        )[0]

    async def uploaded(self, data: bytes) -> str:
        """Plays a person who uploads content to the project; returns its digest."""
        blob = await self.blobs.put_bytes(data)
        found = await self.projects.get(self.administrator, PROJECT)
        async with self.store.transaction() as tx:
            await tx.blobs.reference(project_scope(found.project.id), [blob.digest])
        return blob.digest

    async def device(self, name: str = "gate-1", *, runtimes: Mapping[str, str] | None = None) -> str:
        """Adds a device that has enrolled and told what it can do; returns its id."""
        announced = await self.part.devices.add(self.administrator, PROJECT, name, labels={})
        device_id = announced.shown.device.id
        async with self.store.transaction() as tx:
            await admit_device(tx, identity_of(device_id), "box")
        known = {"onnxruntime": "1.31.1", "openvino": "2026.4.1"} if runtimes is None else runtimes
        await self.told(device_id, seq=1, capabilities={"arch": "x86_64", "runtimes": dict(known)})
        return device_id

    async def told(
        self, device_id: str, *, seq: int, observed: int = 0, boot_id: str = "b1", **state: object
    ) -> bytes | None:
        """Plays a device's call; returns the document it is given."""
        report = Report(boot_id, seq, observed, "0.1.0", state or None)
        document = await self.part.device_sync.sync(identity_of(device_id), report, wait_s=0.001)
        return None if document is None else document.data


def stage_files(names: Sequence[str], seed: str, *, stage: str = "best", score: float = 0.8) -> dict[str, bytes]:
    """Returns what a training of one stage leaves, by role."""
    result = {
        "best_stage_name": stage,
        "stages": [
            {"name": stage, "given_name": stage, "files": list(names), "timestamp": 0, "scores": {"mAP": score}}
        ],
        "attachments": {},
        "evaluate_config": {},
    }
    return {"result": canonical_json(result), **{f"stage/{stage}/{name}": f"{name} {seed}".encode() for name in names}}


def shifted(found: Box, by: float) -> Box:
    """Returns a box moved to the right."""
    return box(found.class_name, x=found.x + by, y=found.y, w=found.w, h=found.h)


def document_of(data: bytes | None) -> dict[str, object]:
    """Returns the desired state in a device's document."""
    assert data is not None
    document: dict[str, object] = json.loads(data)
    return document
