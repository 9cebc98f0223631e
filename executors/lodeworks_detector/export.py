"""ONNX of a network: boxes decoded inside, the description of its input and output with it."""

from __future__ import annotations

import copy
import io
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from lodeworks_detector.network import STRIDES, Detector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

OPSET = 17
NMS_IOU = 0.6
MAX_DETECTIONS = 300


class _Outputs(nn.Module):
    """The network as the ONNX contract wants its outputs."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prediction = self.model(images)
        return prediction.logits.sigmoid(), prediction.boxes, prediction.embedding


class OnnxWriter:
    """Writes networks of one shape as ONNX: the graph is traced once, then only the weights change."""

    def __init__(self, *, class_names: Sequence[str], input_size: tuple[int, int]) -> None:
        self._info = model_info(class_names=class_names, input_size=input_size)
        self._size = input_size
        self._graph: onnx.ModelProto | None = None

    def write(self, path: Path, fused: Detector, *, score_threshold: float) -> None:
        """Writes a network whose batch norms are folded (`fuse_norms`), and from which score on it answers."""
        if self._graph is None:
            self._graph = trace(fused, size=self._size)
        info = self._info | {"score_threshold": round(score_threshold, 4)}
        del self._graph.metadata_props[:]
        onnx.helper.set_model_props(self._graph, {"model_info": json.dumps(info, ensure_ascii=False)})
        state = {f"model.{name}": value for name, value in fused.state_dict().items()}
        for index, initializer in enumerate(self._graph.graph.initializer):
            value = state.get(initializer.name)
            if value is not None:
                array = np.ascontiguousarray(value.cpu().numpy())
                self._graph.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, initializer.name))
        path.write_bytes(self._graph.SerializeToString())


def model_info(*, class_names: Sequence[str], input_size: tuple[int, int]) -> dict[str, Any]:
    """Returns what a runtime must know to run the network on a picture."""
    return {
        "input_size": list(input_size),
        "letterbox": {"pad": 114, "resample": "bilinear"},
        "colour": "rgb",
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "classes": list(class_names),
        "decoder": "lodeworks",
        "nms_iou": NMS_IOU,
        "max_detections": MAX_DETECTIONS,
        "strides": list(STRIDES),
    }


def trace(fused: Detector, *, size: tuple[int, int]) -> onnx.ModelProto:
    """Returns the ONNX graph of a network, its weights under their own names, the batch dynamic."""
    buffer = io.BytesIO()
    module = _Outputs(copy.deepcopy(fused).cpu()).eval()
    names = ["images", "scores", "boxes", "embedding"]
    with warnings.catch_warnings():
        # The newer exporter is advertised at each call; this one is chosen on purpose (opset 17, no extra package).
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 3, *size),),
            buffer,  # type: ignore[arg-type]  # a buffer is fine for this exporter
            dynamo=False,
            opset_version=OPSET,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            do_constant_folding=True,
        )
    graph = onnx.load_model_from_string(buffer.getvalue())
    onnx.checker.check_model(graph)
    return graph
