"""What programs that export networks write into their files, in the words of our descriptions."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from lodeworks_executor.errors import BadModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

_DETECT = "detect"
_FLAT = 3
_CORNERS_SCORE_CLASS = 6


def told_by_exporter(model: onnx.ModelProto) -> dict[str, Any]:
    """Returns the classes, and the decoder where the outputs tell it, of a file that Ultralytics' programs exported.

    They write `names` ({0: 'car', …}) and `task`; other files give nothing.

    Raises:
        BadModelError: the network does something else than detection.
    """
    told = {prop.key: prop.value for prop in model.metadata_props}
    classes = _names(told.get("names", ""))
    if not classes:
        return {}
    task = told.get("task", _DETECT)
    if task != _DETECT:
        raise BadModelError(f"the file says that its network is for the task {task!r}; export one for {_DETECT!r}")
    decoder = _decoder(model, len(classes), ends_itself=told.get("end2end") == "True")
    return {"classes": classes, **({"decoder": decoder} if decoder else {})}


def _names(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if isinstance(found, dict) and sorted(map(str, found)) == sorted(map(str, range(len(found)))):
        found = [found.get(place, found.get(str(place))) for place in range(len(found))]
    return [str(name) for name in found] if isinstance(found, list | tuple) else []


def _decoder(model: onnx.ModelProto, classes: int, *, ends_itself: bool) -> str:
    shapes = [[dim.dim_value for dim in output.type.tensor_type.shape.dim] for output in model.graph.output]
    flat: list[Sequence[int]] = [shape for shape in shapes if len(shape) == _FLAT]
    if len(flat) != 1:
        return ""
    _, rows, columns = flat[0]
    if columns == _CORNERS_SCORE_CLASS and ends_itself:
        return "detections"
    if rows == 4 + classes:
        return "yolov8"
    return "yolov5" if columns == 5 + classes else ""
