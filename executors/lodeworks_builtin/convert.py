"""The built-in convert: one ONNX stage becomes a package per target and precision, each measured, none unguarded.

Inputs by role: model (the stage's files), calibration (a view), guard (an annotated view), options.
Outputs: package-<target>-<precision> (packed), report (JSON), report_html, card (Markdown).

A variant that loses more than `max_drop` is refused: it has no package, and the report holds the table of what was
tried and `accepted: false`. The run itself succeeds then, so that the report is kept; whoever asked decides what that
means.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from lodeworks_converters import ConverterError, ConverterUnavailableError, converters, find_converter
from lodeworks_executor.errors import BadDatasetError, BadModelError, BadSettingError, ErrorCode, ExecutorError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.package import pack

from lodeworks_builtin.convert_stage import convert_stage
from lodeworks_builtin.convert_workbench import open_workbench
from lodeworks_builtin.model_source import find_model
from lodeworks_builtin.reports.conversion import card_markdown, conversion_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks_executor import Task

    from lodeworks_builtin.convert_outcome import Conversion


def run(task: Task) -> None:
    """Converts one stage.

    Raises:
        BadSettingError: a target or precision is not known, or cannot be made in this environment.
        BadModelError: there is no ONNX file, or a tool refuses it.
        BadDatasetError: a view cannot be used for its purpose.
    """
    options = _options(task)
    variants = plan_variants(options.targets, options.precisions)
    # OpenCV's own threads would blur what one thread can do.
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="lodeworks-convert-") as scratch:
        source = find_model(task, scratch=Path(scratch) / "given")
        if source.is_package:
            raise BadModelError("this is a finished package: convert the model stage that it was made of")
        try:
            bench = open_workbench(task, options=options, model=source.path, scratch=Path(scratch))
            conversion = convert_stage(bench, variants=variants, progress=task.progress)
        except FormatError as error:
            raise BadDatasetError(str(error)) from error
        except ConverterError as error:
            raise BadModelError(str(error)) from error
        _write(task, conversion)
    task.progress(1.0, "done" if conversion.accepted else "some variants were refused by the guard")


def plan_variants(targets: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the (target, precision) pairs to make, in the order asked for.

    A precision that only some of the targets know is made for those. Raises BadSettingError when one is known to none,
    and ExecutorError when one cannot be made here, before any work is done.
    """
    known = converters()
    for target in targets:
        if target not in known:
            raise BadSettingError("targets", f"wants some of {', '.join(sorted(known))}, not {target!r}")
    pairs = [
        (target, precision)
        for target in dict.fromkeys(targets)
        for precision in dict.fromkeys(precisions)
        if precision in known[target].precisions
    ]
    for precision in precisions:
        if all(made != precision for _, made in pairs):
            there = sorted({made for target in targets for made in known[target].precisions})
            raise BadSettingError(
                "precisions", f"wants some of {', '.join(there)} for these targets, not {precision!r}"
            )
    for target in targets:
        if all(made != target for made, _ in pairs):
            some = ", ".join(known[target].precisions)
            raise BadSettingError("precisions", f"must hold one of {some} for the target {target}")
    for target, precision in pairs:
        try:
            find_converter(target, precision=precision)
        except ConverterUnavailableError as error:
            raise ExecutorError(str(error), code=ErrorCode.CONFIG) from error
    if not pairs:
        raise BadSettingError("targets", "is empty: name at least one")
    return pairs


def _options(task: Task) -> roles.ConvertOptions:
    if not task.has_role(roles.OPTIONS):
        return roles.ConvertOptions()
    try:
        options = roles.ConvertOptions.from_bytes(task.role(roles.OPTIONS).read_bytes())
        provenance = json.loads(options.provenance)
    except (FormatError, ValueError) as error:
        raise BadSettingError("options", str(error)) from error
    if not isinstance(provenance, dict):
        raise BadSettingError("provenance", "wants a JSON object")
    if not 0.0 <= options.max_drop <= 1.0:
        raise BadSettingError(
            "max_drop", f"wants absolute mAP50:95, a number between 0 and 1, not {options.max_drop:g}"
        )
    if options.calibration_pictures < 1:
        raise BadSettingError("calibration_pictures", f"wants 1 or more, not {options.calibration_pictures}")
    return options


def _write(task: Task, conversion: Conversion) -> None:
    for variant in conversion.variants:
        if variant.package is not None:
            pack(variant.package, task.output(variant.role))
    report = conversion.report()
    task.output(roles.REPORT).write_bytes(canonical_json(report))
    task.output(roles.REPORT_HTML).write_text(conversion_html(report), encoding="utf-8")
    task.output(roles.CARD).write_text(card_markdown(report), encoding="utf-8")
