"""The built-in evaluate: predictions against ground truth, as match table, summary and report.

Inputs by role: view, predictions (both pictures in Parquet), options. Outputs: match_table, summary, report_html.
Settings `model_name` and `dataset_name` only name the two sides in the report.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lodeworks_evaluation.evaluation import PROTOCOLS, Evaluation, evaluate
from lodeworks_evaluation.match_table import write_match_table
from lodeworks_evaluation.ymir import DEFAULT_CONF, DEFAULT_IOU
from lodeworks_executor import BadSettingError
from lodeworks_executor.errors import BadDatasetError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import pictures_metadata, read_pictures
from lodeworks_runtime.errors import PictureError
from lodeworks_runtime.picture import decode_picture

from lodeworks_builtin.reports.diagnosis import Heading, diagnosis_html

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from lodeworks_executor import Task
    from lodeworks_formats.boxes import Box
    from lodeworks_formats.pictures import Picture
    from numpy.typing import NDArray


def run(task: Task) -> None:
    """Evaluates one prediction set on one view.

    Raises:
        BadDatasetError: a Parquet input is broken, or no picture has ground truth.
        BadSettingError: an option is unknown or out of range.
    """
    options = _options(task)
    try:
        view = list(read_pictures(task.role(roles.VIEW)))
        predictions = {
            picture.digest: picture.predictions or () for picture in read_pictures(task.role(roles.PREDICTIONS))
        }
        class_names = options.class_names or pictures_metadata(task.role(roles.VIEW)).class_names
    except FormatError as error:
        raise BadDatasetError(str(error)) from error
    if all(picture.boxes is None for picture in view):
        raise BadDatasetError("no picture of the dataset is annotated: there is nothing to compare with")
    task.progress(0.2, f"{len(view)} pictures read")
    evaluation = evaluate(
        view,
        predictions,
        class_names=class_names or _named(view, predictions),
        protocol=options.protocol,
        iou=DEFAULT_IOU if options.iou is None else options.iou,
        conf=DEFAULT_CONF if options.conf is None else options.conf,
    )
    task.progress(0.7, "boxes matched")
    _write(task, evaluation, {picture.digest: picture.upright_name for picture in view})
    task.progress(1.0, "done")


def _options(task: Task) -> roles.EvaluateOptions:
    if not task.has_role(roles.OPTIONS):
        return roles.EvaluateOptions()
    try:
        options = roles.EvaluateOptions.from_bytes(task.role(roles.OPTIONS).read_bytes())
    except FormatError as error:
        raise BadSettingError("options", str(error)) from error
    if options.protocol not in PROTOCOLS:
        raise BadSettingError("protocol", f"wants one of {', '.join(PROTOCOLS)}, not {options.protocol!r}")
    for key, value in (("iou", options.iou), ("conf", options.conf)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise BadSettingError(key, f"wants a number between 0 and 1, not {value:g}")
    return options


def _named(view: list[Picture], predictions: Mapping[str, tuple[Box, ...]]) -> list[str]:
    """Returns every class that a box names, for a view that does not say what it holds."""
    names = {box.class_name for picture in view for box in picture.boxes or ()}
    names.update(box.class_name for boxes in predictions.values() for box in boxes)
    return sorted(names)


def _write(task: Task, evaluation: Evaluation, file_names: Mapping[str, str]) -> None:
    summary = evaluation.summary()
    write_match_table(task.output(roles.MATCH_TABLE), evaluation.match_table)
    task.output(roles.SUMMARY).write_bytes(canonical_json(summary))
    heading = Heading(
        model=task.settings.text("model_name", default="This model"),
        dataset=task.settings.text("dataset_name", default="this dataset"),
    )
    picture_of = partial(_picture, task.environment.inputs.assets, file_names)
    page = diagnosis_html(summary, evaluation.match_table, picture_of, heading=heading)
    task.output(roles.REPORT_HTML).write_text(page, encoding="utf-8")


def _picture(assets: Path, file_names: Mapping[str, str], digest: str) -> NDArray[np.uint8] | None:
    """Returns the upright picture of a digest; None where the run was given none, or where it cannot be read."""
    path = assets / asset_path(file_names[digest])
    if not path.is_file():
        return None
    try:
        return decode_picture(path.read_bytes())
    except PictureError:
        return None
