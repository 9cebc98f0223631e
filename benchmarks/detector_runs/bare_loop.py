"""The least that inference can be: decode, letterbox, run, the same selection of boxes; prints how many it found.

    python bare_loop.py MODEL.onnx PATHS.json

It uses cv2 and onnxruntime as anybody would, and of ours only what chooses among the network's answers.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from lodeworks_runtime.detections import select
from lodeworks_runtime.recipe import Thresholds


def main(model: Path, paths: list[str]) -> int:
    """Returns the number of boxes in all pictures."""
    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    info = json.loads(session.get_modelmeta().custom_metadata_map["model_info"])
    height, width = info["input_size"]
    thresholds = Thresholds(
        score=info["score_threshold"], nms_iou=info["nms_iou"], max_detections=info["max_detections"]
    )
    found = 0
    for path in paths:
        image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
        assert image is not None, f"{path} is no picture"
        scale = min(height / image.shape[0], width / image.shape[1])
        new_h, new_w = round(image.shape[0] * scale), round(image.shape[1] * scale)
        top, left = (height - new_h) // 2, (width - new_w) // 2
        canvas = np.full((height, width, 3), info["letterbox"]["pad"], dtype=np.uint8)
        canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA)
        blob = np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32)
        blob /= 255
        scores, boxes, _ = session.run(None, {"images": blob})
        kept = select(scores[0], boxes[0], thresholds=thresholds)
        corners = (kept.corners - np.array([left, top] * 2)) / scale
        found += len(corners)
    return found


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())))
