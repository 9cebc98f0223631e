"""The steps of `lode demo`, through the public client and the programs alone."""

from __future__ import annotations

import http.client
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lodeworks.cli import programs
from lodeworks.cli.broken_package import break_package
from lodeworks.errors import LodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lodeworks.blocking.algorithm import Release
    from lodeworks.blocking.client import Client
    from lodeworks.blocking.dataset_version import DatasetVersion
    from lodeworks.blocking.device import Device
    from lodeworks.blocking.evaluation import Evaluation
    from lodeworks.blocking.model import ModelVersion
    from lodeworks.blocking.project import Project
    from lodeworks.cli.local import LocalInstallation

_CLASSES = ("ring", "square", "cross", "star")
_RARE = "star"
_REJECTS = 4
_PARTS = {"train": 26, "pool": 48, "val": 11, "test": 15}
_MINED_SHARE = 0.5
_PICTURES_SEEN = 7500
"""By each training, in all its epochs: enough to learn, little enough to wait for."""
_DEVICE_READY_S = 60.0


class Demonstration:
    """One walk from pictures to a device, and to a release that the device refuses.

    Args:
        installation: Where it happens.
        folder: Where pictures, report and answer are written.
        seed: Of the pictures and of every draw.
        pictures: How many are made.
        epochs: Per training; None = as the detector thinks fit.
    """

    def __init__(
        self, installation: LocalInstallation, folder: Path, *, seed: int, pictures: int, epochs: int | None
    ) -> None:
        self._installation = installation
        self._folder = folder
        self._seed = seed
        self._pictures = pictures
        self._epochs = epochs
        self._client: Client | None = None
        self._project: Project
        self._parts: dict[str, DatasetVersion] = {}
        self._first: ModelVersion
        self._second: ModelVersion
        self._release: Release
        self._device: Device
        self._agent: programs.Running | None = None
        self._evaluation: Evaluation

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yields the name of each step and what does it; the answer is its figure."""
        yield "installation", self._start
        yield "import", self._import
        yield "first model", self._train_first
        yield "mining", self._mine
        yield "second model", self._train_second
        yield "publish", self._publish
        yield "device", self._deploy
        yield "answer over HTTP", self._answer
        yield "broken release", self._refuse
        yield "report", self._report

    def close(self) -> None:
        """Stops the device and closes the connection."""
        if self._agent is not None:
            programs.stop(self._agent)
            programs.run([programs.find("lode-device"), "shutdown", "--state", str(self._device_state)])
        if self._client is not None:
            self._client.close()

    def next_commands(self) -> tuple[str, ...]:
        """Returns what a person may try next."""
        state = self._installation.folder
        return (
            f"lode up -d --state {state}",
            f"lode algorithm show {self._release.name} --project {self._project.name}",
            f"lode evaluation boxes {self._evaluation.id} --kind fn --class {_RARE} --project {self._project.name}",
        )

    @property
    def _device_state(self) -> Path:
        return self._folder / "device"

    def _start(self) -> str:
        from lodeworks.blocking.client import Client

        profile = self._installation.up()
        self._client = Client(profile)
        name = self._free_name(self._client)
        self._project = self._client.projects.create(name, classes=_CLASSES)
        self._client.profile = replace(profile, project=name)
        return f"controller and worker at {profile.server}, project {name}"

    def _import(self) -> str:
        archive = self._folder / "pictures.zip"
        programs.run(
            (
                *(sys.executable, "-m", "lodeworks_builtin.generate", str(archive)),
                *("--pictures", str(self._pictures), "--seed", str(self._seed), "--rejects", str(_REJECTS)),
            )
        )
        task = self._project.datasets.import_from(archive, to="labelled")
        version = task.result()
        report = self._project.datasets.report(task_id=task.id)
        parts = version.split(_PARTS, seed=self._seed).result()
        self._parts = dict(zip(_PARTS, parts, strict=True))
        rejected = [f"{entry.file.rpartition('/')[2]}: {entry.reason}" for entry in report.rejections]
        return "\n".join(
            (
                f"{len(version)} pictures, {version.data.box_count} boxes; {len(rejected)} files told apart:",
                *(f"  {line}" for line in rejected),
            )
        )

    def _train_first(self) -> str:
        self._first, evaluation = self._train(self._parts["train"])
        return f"{len(self._parts['train'])} pictures: {_scores(evaluation)}"

    def _mine(self) -> str:
        pool = self._parts["pool"]
        wanted = int(len(pool) * _MINED_SHARE)
        mined = pool.mine(top_k=wanted, model=self._first.name, strategy="entropy", to="mined").result()
        chance = pool.sample(count=wanted, seed=self._seed, to="chance").result()
        merged = self._parts["train"].merge([mined], to="train").result()
        self._parts["train"] = merged
        return (
            f"{wanted} of {len(pool)} chosen: {mined.data.box_count} objects, {_rare(mined)} of the rare class; "
            f"by chance {chance.data.box_count} and {_rare(chance)}"
        )

    def _train_second(self) -> str:
        self._second, self._evaluation = self._train(self._parts["train"])
        return f"{len(self._parts['train'])} pictures: {_scores(self._evaluation)}"

    def _train(self, train: DatasetVersion) -> tuple[ModelVersion, Evaluation]:
        epochs = self._epochs or round(_PICTURES_SEEN / len(train))
        settings = {"seed": self._seed, "epochs": epochs, "input_size": "192x256"}
        model = self._project.models.train(
            train=train, val=self._parts["val"], name="shapes", settings=settings
        ).result()
        return model, model.evaluate(on=self._parts["test"]).result()

    def _publish(self) -> str:
        self._release = self._second.publish(
            name="shapes",
            targets=["onnx", "openvino"],
            precisions=["fp32", "int8"],
            calibrate=self._parts["train"],
            guard=self._parts["val"],
        ).result()
        lines = [f"{self._release.name}, signed:"]
        lines += [
            f"  {package.variant:<14} mAP50 {package.ap50:.3f}  mAP50:95 {package.ap:.3f} ({-package.drop:+.4f})  "
            f"{package.latency_ms:5.1f} ms  ×{package.speed_up:.2f}  {package.size_bytes / 1e6:.1f} MB"
            for package in self._release.data.packages
        ]
        return "\n".join(lines)

    def _deploy(self) -> str:
        assert self._client is not None
        server = self._client.profile.server
        added = self._project.devices.add("gate-1")
        command = programs.find("lode-device")
        state = ["--state", str(self._device_state)]
        programs.run([command, "enroll", server, *state, "--ca", added.ca_fingerprint, "--token", added.token])
        log = self._folder / "device.log"
        self._agent = programs.start([command, "run", *state], log=log)
        self._device = self._project.devices.get("gate-1")
        programs.wait_for(self._reports, self._agent, log=log, what="the device", timeout_s=_DEVICE_READY_S)
        phases: list[str] = []
        deployment = self._release.deploy(self._device)
        for device in deployment.watch():
            phase = device.reported("shapes").phase
            if not phases or phases[-1] != phase:
                phases.append(phase)
        (self._device,) = deployment.result()
        variant = self._device.desired("shapes").variant
        return f"enrolled → {' → '.join(phases)} ({variant})"

    def _answer(self) -> str:
        picture = next(
            entry for entry in self._parts["test"].pictures() if len({box.class_name for box in entry.boxes}) > 1
        )
        data = self._parts["test"].picture_bytes(picture)
        answer = self._ask(data)
        found = answer["data"]["results"]
        (self._folder / "answer.jpg").write_bytes(data)
        (self._folder / "answer.json").write_text(json.dumps(answer, indent=2))
        programs.run(
            [sys.executable, "-m", "lodeworks_builtin.reports.answer"]
            + [str(self._folder / name) for name in ("answer.jpg", "answer.json", "answer.png")]
        )
        seen = ", ".join(f"{box['class_name']} {box['confidence']:.2f}" for box in found[:4])
        return f"{len(picture.boxes)} objects in the picture, {len(found)} in the answer: {seen}"

    def _refuse(self) -> str:
        variant = self._device.desired("shapes").variant
        (packed,) = self._release.download(self._folder / "broken", variant=variant)
        broken = self._project.algorithms.add("shapes", [break_package(packed)])
        try:
            broken.deploy(self._device).result()
        except LodeError as error:
            entry = self._device.refresh().reported("shapes")
            answers = self._ask((self._folder / "answer.jpg").read_bytes())
            same = (
                answers["data"]["results"] == json.loads((self._folder / "answer.json").read_text())["data"]["results"]
            )
            if not same or entry.active_release != self._release.name:
                raise LodeError("the device stopped answering as before", reason="DEMO_FAILED") from error
            return f"{broken.name} refused: {entry.reason}; {entry.active_release} goes on answering the same"
        raise LodeError("the device took a broken release", reason="DEMO_FAILED")

    def _report(self) -> str:
        (self._folder / "report.html").write_text(self._evaluation.report_html(), encoding="utf-8")
        counts = self._evaluation.counts(confidence=0.3).total
        return (
            f"{counts.true_positives} objects found, {counts.false_negatives} missed, "
            f"{counts.false_positives} wrong at confidence 0.3"
        )

    def _reports(self) -> bool:
        return bool(self._device.refresh().data.reported_json)

    def _ask(self, picture: bytes) -> dict[str, Any]:
        address = self._device.refresh().data.http_address
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        connection.request("POST", "/v1/algorithms/shapes:infer", picture, {"Content-Type": "image/jpeg"})
        answer: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        return answer

    @staticmethod
    def _free_name(client: Client) -> str:
        taken = {project.name for project in client.projects.list()}
        return next(name for number in range(1, len(taken) + 2) if (name := f"demo-{number}") not in taken)


def _scores(evaluation: Evaluation) -> str:
    rare = evaluation.per_class[_RARE].ap50
    return f"mAP50 {evaluation.ap50:.3f}, mAP50:95 {evaluation.ap:.3f}; the rare class {rare:.3f}"


def _rare(version: DatasetVersion) -> int:
    return sum(entry.boxes for entry in version.stats([_RARE]).classes if entry.class_name == _RARE)
