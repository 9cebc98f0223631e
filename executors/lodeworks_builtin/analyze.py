"""The built-in analyze: distributions of several datasets and their predictions, as JSON and as a page.

Inputs by role: analyzed/<n>/view (pictures in Parquet), analyzed/<n>/signals, options. Outputs: summary, report_html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lodeworks_executor.errors import BadDatasetError, BadSettingError
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.segments import pictures_metadata, read_picture_batches
from lodeworks_formats.segments.hamming import near_pairs

from lodeworks_builtin.analysis.bins import BOX_SIZE, OF_PICTURES
from lodeworks_builtin.analysis.subject import Subject
from lodeworks_builtin.reports.analysis import analysis_html

if TYPE_CHECKING:
    from pathlib import Path

    from lodeworks_executor import Task

_ALIKE_BITS = 3


def run(task: Task) -> None:
    """Analyzes the datasets; raises BadDatasetError for a broken input, BadSettingError for wrong options."""
    try:
        options = roles.AnalyzeOptions.from_bytes(task.role(roles.OPTIONS).read_bytes())
    except FormatError as error:
        raise BadSettingError("options", str(error)) from error
    if len(options.predicted_by) != len(options.names) or not options.names:
        raise BadSettingError("names", "wants a name and a model for each dataset")
    subjects = []
    class_names: tuple[str, ...] = ()
    for place, (name, model) in enumerate(zip(options.names, options.predicted_by, strict=True)):
        view, signals = (task.role(roles.analyzed_role(place, part)) for part in ("view", "signals"))
        try:
            subjects.append(measure_subject(view, signals, name=name, predicted_by=model))
            class_names = class_names or pictures_metadata(view).class_names or ()
        except (FormatError, pa.ArrowException) as error:
            raise BadDatasetError(f"{name}: {error}") from error
        task.progress((place + 1) / (len(options.names) + 1), f"{name} measured")
    summary = summary_of(subjects, class_names)
    task.output(roles.SUMMARY).write_bytes(canonical_json(summary))
    task.output(roles.REPORT_HTML).write_text(analysis_html(summary), encoding="utf-8")
    task.progress(1.0, "done")


def measure_subject(view: Path, signals: Path, *, name: str, predicted_by: str) -> Subject:
    """Returns a dataset measured from its view and its signals."""
    table = pq.read_table(signals, columns=["digest", "phash", "quality"], partitioning=None)
    digests = table.column("digest").to_pylist()
    qualities = {
        digest: quality
        for digest, quality in zip(digests, table.column("quality").to_pylist(), strict=True)
        if quality is not None
    }
    subject = Subject(name, predicted_by=predicted_by, qualities=qualities)
    shown: dict[bytes, str] = {}
    left, right = _alike(table)
    wanted = {digests[place] for place in (*left[:32].tolist(), *right[:32].tolist())}
    for batch in read_picture_batches(view):
        subject.add(batch)
        for digest, names in zip(batch.column("digest").to_pylist(), batch.column("names").to_pylist(), strict=True):
            if digest in wanted:
                shown[digest] = names[0] if names else digest.hex()[:12]
    pairs = [
        (shown.get(digests[one], ""), shown.get(digests[two], ""))
        for one, two in zip(left[:32], right[:32], strict=True)
    ]
    subject.suspects.add_alike(pairs, count=len(left))
    return subject


def _alike(table: Any) -> tuple[Any, Any]:
    column = table.column("phash").combine_chunks()
    known = np.flatnonzero(~column.is_null().to_numpy(zero_copy_only=False))
    hashes = column.fill_null(0).to_numpy().astype(np.uint64)[known]
    left, right = near_pairs(hashes, distance=_ALIKE_BITS)
    pairs = np.unique(np.sort(np.stack([known[left], known[right]], axis=1), axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def summary_of(subjects: list[Subject], class_names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the analysis as plain data."""
    return {
        "analysis_version": 1,
        "class_names": list(class_names),
        "bins": {
            bins.key: {"title": bins.title, "about": bins.about, "labels": list(bins.labels), "edges": list(bins.edges)}
            for bins in (*OF_PICTURES, BOX_SIZE)
        },
        "totals": [row for subject in subjects for row in subject.rows()],
        "datasets": [subject.to_json(class_names) for subject in subjects],
    }
