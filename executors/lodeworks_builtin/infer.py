"""The built-in infer: a model over a view, picture by picture.

Inputs by role: candidate (a view), model (an ONNX file or a package), options. Output: predictions.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_executor.errors import BadDatasetError, BadSettingError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.segments import pictures_metadata, read_pictures, write_pictures

from lodeworks_builtin.model_source import ModelSource, find_model
from lodeworks_builtin.pace import Pace
from lodeworks_builtin.picture_stream import PictureStream, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from lodeworks_executor import Task
    from lodeworks_formats.boxes import Box
    from lodeworks_formats.pictures import Picture
    from lodeworks_runtime import Algorithm
    from numpy.typing import NDArray

_MAX_TOLD = 20


def run(task: Task) -> None:
    """Predicts one view.

    Raises:
        BadDatasetError: the view is broken, or none of its pictures can be read.
        BadModelError: there is no model that can be run.
        BadSettingError: an option is unknown or out of range.
    """
    options = _options(task)
    with tempfile.TemporaryDirectory(prefix="lodeworks-infer-") as scratch:
        algorithms = load_algorithms(find_model(task, scratch=Path(scratch)), threads=options.threads)
    stream = PictureStream(algorithms, assets=task.environment.inputs.assets)

    def measure(algorithm: Algorithm, image: NDArray[np.uint8]) -> list[Box]:
        return algorithm.predict([image], score=options.score_threshold)[0]

    try:
        view = task.role(roles.CANDIDATE)
        pace = Pace(pictures_metadata(view).count, progress=task.progress)
        seen = pace.through(stream.look(read_pictures(view), measure), what="predicted")
        write_pictures(
            task.output(roles.PREDICTIONS),
            _predicted(seen),
            kind="predictions",
            class_names=algorithms[0].classes,
        )
    except FormatError as error:
        raise BadDatasetError(str(error)) from error
    task.progress(1.0, "done")


def load_algorithms(source: ModelSource, *, threads: int) -> list[Algorithm]:
    """Returns one algorithm a thread; 0 threads are as many as this process may use cores."""
    return [source.load() for _ in range(threads or cores())]


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _predicted(seen: Iterable[Seen[list[Box]]]) -> Iterator[Picture]:
    for one in _told(seen):
        # A picture that could not be read stays without prediction: () would say that nothing is in it.
        found = None if one.found is None else tuple(one.found)
        yield replace(one.picture, boxes=None, predictions=found)


def _told(seen: Iterable[Seen[list[Box]]]) -> Iterator[Seen[list[Box]]]:
    total = broken = 0
    last = ""
    for one in seen:
        total += 1
        if one.problem is not None:
            broken, last = broken + 1, one.problem
            if broken <= _MAX_TOLD:
                print(f"left out: {one.problem}", file=sys.stderr)  # noqa: T201 - the log of a run
        yield one
    if broken and broken == total:
        raise BadDatasetError(f"none of the {total} pictures can be read (the last one: {last})")
    if broken:
        print(f"{broken} of {total} pictures were left out", file=sys.stderr)  # noqa: T201 - the log of a run


def _options(task: Task) -> roles.InferOptions:
    if not task.has_role(roles.OPTIONS):
        return roles.InferOptions()
    try:
        options = roles.InferOptions.from_bytes(task.role(roles.OPTIONS).read_bytes())
    except FormatError as error:
        raise BadSettingError("options", str(error)) from error
    if options.score_threshold is not None and not 0.0 <= options.score_threshold <= 1.0:
        raise BadSettingError("score_threshold", f"wants a number between 0 and 1, not {options.score_threshold:g}")
    if options.threads < 0:
        raise BadSettingError("threads", f"wants 0 (all cores) or more, not {options.threads}")
    return options
