"""Proves an image against the executor protocol: every task that it offers, and what it does with bad input."""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lodeworks_executor import Task
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.image_check import CheckReport, Finding, FindingOutcome
from lodeworks_formats.image_manual import DETECTION, ImageManual, PulledImage, parse_image_manual
from lodeworks_formats.protocol import LONGEST_SIDE, RESERVED_KEYS, parse_config, parse_size
from lodeworks_formats.task_inputs import ImageOptions

from lodeworks_worker.cache import Cache
from lodeworks_worker.config import Config
from lodeworks_worker.drivers.docker_engine import DockerDriver, engine_at
from lodeworks_worker.grant import Input, RunPolicy
from lodeworks_worker.images import error_cases, findings
from lodeworks_worker.images.made_inputs import CLASS_NAMES, LocalTransfer, made_pictures, made_view
from lodeworks_worker.images.registry import Registries
from lodeworks_worker.images.trial import Bounds, Ended, Laboratory, Wish

_TRAIN, _MINE, _INFER = "train", "mine", "infer"
_CACHE_BYTES = 1 << 30
_SEEDS: Mapping[str, range] = {roles.TRAIN: range(12), roles.VAL: range(20, 24), roles.CANDIDATE: range(30, 38)}
_STEPS = 9


def check_image(found: PulledImage, options: ImageOptions, *, folder: Path, task: Task, config: Config) -> CheckReport:
    """Returns the report on an image that is on this machine.

    Args:
        found: The image and its manual.
        options: How the runs are bounded, and settings for them.
        folder: Where the runs write; emptied first, and removed afterwards.
        task: Whom progress is told to.
        config: The worker's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        manual = parse_image_manual(found.files, image=found.reference)
    except FormatError as error:
        failed = Finding("manual", FindingOutcome.FAILED, error.message, "put the templates into the image")
        return CheckReport(found.pinned, [failed])
    try:
        return asyncio.run(_proved(found, manual, options, folder=folder, task=task, config=config))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _proved(
    found: PulledImage, manual: ImageManual, options: ImageOptions, *, folder: Path, task: Task, config: Config
) -> CheckReport:
    driver = DockerDriver(
        f"check-{task.id}",
        engine=engine_at(config.docker_host),
        user=config.docker_user,
        registries=Registries(config.registries),
    )
    await driver.capabilities()
    for stray in await driver.found():
        await driver.remove(stray)
    cache = Cache(folder / "cache", limit_bytes=_CACHE_BYTES)
    await cache.open()
    laboratory = Laboratory(
        image=found.pinned,
        driver=driver,
        cache=cache,
        transfer=LocalTransfer(),
        folder=folder / "runs",
        bounds=Bounds(
            run_s=float(options.run_timeout_s),
            policy=RunPolicy(network=options.network, user=options.user),
            memory_bytes=options.memory_bytes,
            shm_bytes=options.shm_bytes,
        ),
        gpu_uuids=config.visible_gpus,
    )
    check = _Check(laboratory, manual, parse_config(options.settings_yaml or "{}"), folder=folder, task=task)
    return CheckReport(found.pinned, await check.findings())


@dataclass(slots=True)
class _Check:
    """The runs of one check, in their order: a training makes the model that mining and inference get."""

    laboratory: Laboratory
    manual: ImageManual
    given: Mapping[str, Any]
    folder: Path
    task: Task
    _done: int = 0
    _found: list[Finding] = field(default_factory=list)

    async def findings(self) -> list[Finding]:
        """Does everything and returns what was found."""
        self._found += findings.of_manual(self.manual)
        if self._object_type != DETECTION:
            skipped = "the check makes pictures with boxes; this image handles no detection"
            return [*self._found, Finding("runs", FindingOutcome.SKIPPED, skipped)]
        views = self._views()
        trained = await self._training(views)
        model = () if trained is None else findings.model_inputs(trained, self.laboratory.transfer)
        await self._candidates(views, model)
        await self._error_cases(views, model)
        return self._found

    @property
    def _object_type(self) -> int:
        return DETECTION if DETECTION in self.manual.templates else self.manual.object_types[0]

    def _views(self) -> dict[str, Input]:
        transfer, made = self.laboratory.transfer, self.folder / "made"
        made.mkdir()
        return {
            role: made_view(transfer, made, role, made_pictures(transfer, made, seeds=seeds))
            for role, seeds in _SEEDS.items()
        }

    async def _training(self, views: Mapping[str, Input]) -> Ended | None:
        if not self._offers(_TRAIN):
            self._found.append(Finding("training", FindingOutcome.SKIPPED, "the image has no training template"))
            return None
        inputs = (views[roles.TRAIN], views[roles.VAL])
        ended = await self._run("training", (_TRAIN,), inputs)
        self._found += findings.of_training(ended)
        stopped = await self._run("stop", (_TRAIN,), inputs, stop=True)
        self._found += findings.of_stop(stopped)
        return ended

    async def _candidates(self, views: Mapping[str, Input], model: tuple[Input, ...]) -> None:
        both = self._offers(_MINE) and self._offers(_INFER)
        for name, operations in (("mining", (_MINE,)), ("inference", (_INFER,)), ("together", (_MINE, _INFER))):
            if not all(self._offers(operation) for operation in operations):
                if name != "together" or both:
                    self._found.append(Finding(name, FindingOutcome.SKIPPED, f"the image has no {name} template"))
                continue
            if self._offers(_TRAIN) and not model:
                missing = "there is no model to run: its training left none"
                self._found.append(Finding(name, FindingOutcome.SKIPPED, missing))
                continue
            ended = await self._run(name, operations, (views[roles.CANDIDATE], *model))
            self._found += findings.of_candidates(ended, classes=CLASS_NAMES)

    async def _error_cases(self, views: Mapping[str, Input], model: tuple[Input, ...]) -> None:
        operation = _INFER if self._offers(_INFER) and (model or not self._offers(_TRAIN)) else _TRAIN
        if not self._offers(operation):
            return
        training = operation == _TRAIN
        inputs = (views[roles.TRAIN], views[roles.VAL]) if training else (views[roles.CANDIDATE], *model)
        for case in error_cases.CASES:
            ended = await self._run(case.name, (operation,), inputs, spoil=case.spoil)
            self._found += case.judge(ended)

    def _offers(self, operation: str) -> bool:
        return operation in self.manual.templates[self._object_type]

    async def _run(
        self,
        name: str,
        operations: tuple[str, ...],
        inputs: tuple[Input, ...],
        *,
        spoil: Any = None,
        stop: bool = False,
    ) -> Ended:
        self._done += 1
        self.task.progress(0.9 + 0.1 * min(self._done / _STEPS, 1.0), name)
        print(f"running {name}", flush=True)  # noqa: T201 - the log of a run
        settings, template = self._settings(operations)
        bounds = self.laboratory.bounds
        if template.get("shm_size") and not bounds.shm_bytes:
            self.laboratory.bounds = replace(bounds, shm_bytes=parse_size(str(template["shm_size"])))
        wish = Wish(
            name=f"{self.task.id}-{name}",
            operations=operations,
            inputs=inputs,
            settings=settings,
            export_format=str(template.get("export_format") or "voc:raw"),
            object_type=self._object_type,
            spoil=spoil,
            stop=stop,
        )
        return await self.laboratory.run(wish)

    def _settings(self, operations: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the settings of a run, and the template that they came from."""
        template: dict[str, Any] = {}
        for operation in operations:
            template |= parse_config(self.manual.templates[self._object_type][operation], file="template")
        own = {key: value for key, value in template.items() if key not in RESERVED_KEYS}
        given = {key: value for key, value in self.given.items() if key in own or key == LONGEST_SIDE}
        return {**own, **given}, template
