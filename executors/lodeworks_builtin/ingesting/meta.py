"""The small files beside pictures: which part a picture belongs to, and which model made the predictions."""

import codecs
import io
from collections.abc import Callable, Iterator
from typing import Any

from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import parse_config

from lodeworks_builtin.ingesting.placed import Key, Layout
from lodeworks_builtin.ingesting.report import NOTED, IngestReport
from lodeworks_builtin.ingesting.source import Source

# trainval repeats what train and val say, so the narrower lists win.
NO_SPLIT = "default"
"""The list of pictures that belong to no part, as other tools call it too."""

_WIDE = ("trainval", "all", NO_SPLIT)


def read_splits(source: Source, layout: Layout, report: IngestReport) -> Callable[[Key], str | None]:
    """Returns what says which part ImageSets/Main puts a picture in, by the picture's key.

    Lists per class (`cat_train.txt`, with a second column) are left alone, as are the wide lists of VOC where a
    narrower one names the picture.
    """
    index = layout.index
    index.execute("CREATE TABLE splits (root TEXT, stem TEXT, part TEXT, PRIMARY KEY (root, stem)) WITHOUT ROWID")
    for root, lists in layout.splits.items():
        for name, entry in sorted(lists, key=lambda item: (item[0] not in _WIDE, item[0])):
            report.other()
            data = source.read(entry)
            if len(next(lines_of(data), "").split()) <= 1:
                rows = ((root, line.strip(), name) for line in lines_of(data) if line.strip())
                index.fill("INSERT OR REPLACE INTO splits VALUES (?, ?, ?)", rows)

    def part_of(key: Key) -> str | None:
        found = index.execute("SELECT part FROM splits WHERE root = ? AND stem = ?", key).fetchone()
        return None if found is None or found[0] == NO_SPLIT else str(found[0])

    return part_of


def lines_of(data: bytes) -> Iterator[str]:
    """Yields the lines of a text in UTF-8, one after another: lists of all pictures are long."""
    for line in io.BytesIO(data.removeprefix(codecs.BOM_UTF8)):
        yield from line.decode("utf-8", "replace").splitlines()


def read_prediction_model(source: Source, layout: Layout, report: IngestReport) -> dict[str, Any] | None:
    """Returns what meta.yaml says about the model behind `pred/`, or None without one.

    Shape: {name, model_hash, stage_name, class_names}; what the file leaves out is "" or [].
    """
    if layout.meta is None:
        return None
    report.other()
    try:
        raw = parse_config(source.read(layout.meta).decode("utf-8", "replace"), file=layout.meta.name)
    except FormatError as error:
        report.problem(layout.meta.name, reason="BAD_META", message=error.message, outcome=NOTED)
        return None
    model = raw.get("model")
    known: dict[str, Any] = model if isinstance(model, dict) else {"name": model or ""}
    classes = raw.get("eval_class_names") or raw.get("class_names") or []
    return {
        "name": str(known.get("name") or known.get("model_name") or known.get("model_hash") or ""),
        "model_hash": str(known.get("model_hash") or ""),
        "stage_name": str(known.get("stage_name") or ""),
        "class_names": [str(name) for name in classes] if isinstance(classes, list) else [],
    }
