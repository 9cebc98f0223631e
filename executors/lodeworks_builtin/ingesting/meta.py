"""The small files beside pictures: which part a picture belongs to, and which model made the predictions."""

from typing import Any

from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import parse_config

from lodeworks_builtin.ingesting.layout import Layout
from lodeworks_builtin.ingesting.report import NOTED, IngestReport
from lodeworks_builtin.ingesting.source import Source

# trainval repeats what train and val say, so the narrower lists win.
NO_SPLIT = "default"
"""The list of pictures that belong to no part, as other tools call it too."""

_WIDE = ("trainval", "all", NO_SPLIT)


def read_splits(source: Source, layout: Layout, report: IngestReport) -> dict[tuple[str, str], str]:
    """Returns the part of each picture that ImageSets/Main names, by the picture's key.

    Lists per class (`cat_train.txt`, with a second column) are left alone, as are the wide lists of VOC where a
    narrower one names the picture.
    """
    splits: dict[tuple[str, str], str] = {}
    for root, lists in layout.splits.items():
        for name, entry in sorted(lists, key=lambda item: (item[0] not in _WIDE, item[0])):
            report.other()
            lines = source.read(entry).decode("utf-8", "replace").splitlines()
            if any(len(line.split()) > 1 for line in lines[:1]):
                continue
            splits |= {(root, line.strip()): name for line in lines if line.strip()}
    return {key: name for key, name in splits.items() if name != NO_SPLIT}


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
