"""The built-in mine: which pictures of a view to annotate next.

Inputs by role: candidate (a view), model (for strategies that need one), options. Output: scores, the best first.
"""

from __future__ import annotations

import heapq
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_executor.errors import BadDatasetError, BadSettingError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.segments import pictures_metadata, read_pictures, write_scores
from lodeworks_runtime import Algorithm

from lodeworks_builtin.infer import cores, load_algorithms
from lodeworks_builtin.mining import Look, find_strategy
from lodeworks_builtin.model_source import find_model, has_model
from lodeworks_builtin.pace import Pace
from lodeworks_builtin.picture_stream import PictureStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lodeworks_executor import Task

    from lodeworks_builtin.mining import Strategy


def run(task: Task) -> None:
    """Scores one view.

    Raises:
        BadDatasetError: the view is broken, or none of its pictures can be judged.
        BadModelError: the strategy needs a model and there is none that can be run.
        BadSettingError: an option is unknown or out of range.
    """
    options = _options(task)
    strategy = find_strategy(options.strategy)
    look = Look(
        seed=options.seed,
        stream=_stream(task, strategy),
        score_threshold=options.score_threshold,
        budget=options.top_k,
        class_ap=dict(zip(options.class_names, options.class_ap, strict=True)),
    )
    try:
        view = task.role(roles.CANDIDATE)
        pace = Pace(pictures_metadata(view).count, progress=task.progress)
        scores = pace.through(strategy.score(read_pictures(view), look=look), what=f"mined by {strategy.name}")
        count = write_scores(task.output(roles.SCORES), best_first(scores, top_k=options.top_k))
    except FormatError as error:
        raise BadDatasetError(str(error)) from error
    if count == 0:
        raise BadDatasetError("no picture of the dataset can be judged: it is empty, or no picture can be read")
    task.progress(1.0, "done")


def best_first(scores: Iterable[tuple[str, float]], *, top_k: int | None) -> list[tuple[str, float]]:
    """Returns the pairs by falling score, equal ones by digest; all of them where there are fewer than `top_k`."""

    def rank(pair: tuple[str, float]) -> tuple[float, str]:
        return -pair[1], pair[0]

    return sorted(scores, key=rank) if top_k is None else heapq.nsmallest(top_k, scores, key=rank)


def _stream(task: Task, strategy: Strategy) -> PictureStream[Algorithm | None] | None:
    if strategy.model == "none":
        return None
    assets = task.environment.inputs.assets
    if strategy.model == "optional" and not has_model(task):
        return PictureStream([None] * cores(), assets=assets)
    with tempfile.TemporaryDirectory(prefix="lodeworks-mine-") as scratch:
        algorithms = load_algorithms(find_model(task, scratch=Path(scratch)), threads=0)
    return PictureStream[Algorithm | None](algorithms, assets=assets)


def _options(task: Task) -> roles.MineOptions:
    if not task.has_role(roles.OPTIONS):
        return roles.MineOptions()
    try:
        options = roles.MineOptions.from_bytes(task.role(roles.OPTIONS).read_bytes())
    except FormatError as error:
        raise BadSettingError("options", str(error)) from error
    if options.top_k is not None and options.top_k < 1:
        raise BadSettingError("top_k", f"wants 1 or more, not {options.top_k}")
    if options.score_threshold is not None and not 0.0 <= options.score_threshold <= 1.0:
        raise BadSettingError("score_threshold", f"wants a number between 0 and 1, not {options.score_threshold:g}")
    if len(options.class_names) != len(options.class_ap):
        raise BadSettingError("class_ap", f"wants one number for each of {len(options.class_names)} classes")
    return options
