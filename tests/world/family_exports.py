"""Exports networks with their family's own programs; runs in an interpreter that has them, in a process of its own.

    python family_exports.py yolov8n.yaml FOLDER      ultralytics; the same for yolo11n.yaml and others
    python family_exports.py yolos FOLDER             transformers
    python family_exports.py ssdlite FOLDER           torchvision

Writes FOLDER/model.onnx, and what the family's own code makes of FOLDER/input.npy to FOLDER/answer.json: boxes as
class, score and corners in pixels of the input. Weights are random and seeded: nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

SIZE = (96, 160)
SCORE = 0.3
NMS_IOU = 0.5


def ultralytics_network(kind: str, folder: Path) -> list:
    """Exports a network of Ultralytics' and returns what its own suppression leaves."""
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true"}
    from ultralytics import YOLO  # noqa: PLC0415 - one of the two programs is there
    from ultralytics.utils.nms import non_max_suppression  # noqa: PLC0415

    network = YOLO(kind)
    heads = [level[-1] for level in network.model.model[-1].cv3]
    blob = torch.from_numpy(np.load(folder / "input.npy"))
    with torch.no_grad():
        # One pass sets the norms, then what the classes say is spread.
        _set_norms(network.model)
        network.model.train()(blob)
        answers: list[torch.Tensor] = []
        for head in heads:
            head.register_forward_hook(lambda _head, _given, answer: answers.append(answer))
        network.model.eval()(blob)
        for head, answer in zip(heads, answers, strict=True):
            head.weight.data *= 2.0 / answer.std(dim=(2, 3)).mean()
        answers.clear()
        network.model(blob)
        for head, answer in zip(heads, answers, strict=True):
            head.bias.data -= answer.mean(dim=(0, 2, 3)) + 6.0
        raw = network.model(blob)
    (found,) = non_max_suppression(raw, conf_thres=SCORE, iou_thres=NMS_IOU, multi_label=True, max_det=300)
    Path(network.export(format="onnx", imgsz=list(SIZE), opset=17, simplify=False)).replace(folder / "model.onnx")
    return [(int(row[5]), float(row[4]), row[:4].tolist()) for row in found]


def _set_norms(network: torch.nn.Module) -> None:
    """Lets the next pass in training mode set the norms, since fresh weights say the same of every place."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0


def yolos_network(folder: Path) -> list:
    """Exports a network of transformers' and returns what its own post-processing says."""
    from transformers import YolosConfig, YolosForObjectDetection  # noqa: PLC0415

    config = YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=list(SIZE),
        num_detection_tokens=20,
        num_labels=3,
    )
    network = YolosForObjectDetection(config).eval()
    for layer in (*network.class_labels_classifier.layers, *network.bbox_predictor.layers):
        layer.weight.data *= 15.0

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pixels):
            found = self.network(pixel_values=pixels)
            return found.logits, found.pred_boxes

    blob = torch.from_numpy(np.load(folder / "input.npy"))
    with torch.no_grad():
        logits, boxes = Outputs()(blob)
    scores = logits.softmax(-1)[0, :, :-1]
    centre, size = boxes[0, :, :2], boxes[0, :, 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], 1) * torch.tensor([SIZE[1], SIZE[0]] * 2)
    torch.onnx.export(
        Outputs(),
        (blob,),
        str(folder / "model.onnx"),
        input_names=["images"],
        output_names=["logits", "pred_boxes"],
        opset_version=17,
        dynamo=False,
    )
    found = [
        (which, float(scores[row, which]), corners[row].tolist()) for row, which in (scores >= SCORE).nonzero().tolist()
    ]
    return sorted(found, key=lambda one: -one[1])


def ssdlite_network(folder: Path) -> list:
    """Exports a network of torchvision's, which ends with its own suppression, and returns what it finds."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large  # noqa: PLC0415

    network = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, score_thresh=SCORE, detections_per_img=300
    ).eval()
    blob = torch.from_numpy(np.load(folder / "input.npy"))
    with torch.no_grad():
        _set_norms(network)
        network.train()
        both = torch.nn.functional.interpolate(torch.cat([blob, blob.flip(2)]), (320, 320))
        network.head(list(network.backbone(both).values()))
        network.eval()

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pictures):
            found = self.network([pictures[0]])[0]
            return found["boxes"], found["scores"], found["labels"]

    with torch.no_grad():
        boxes, scores, labels = Outputs()(blob)
    torch.onnx.export(
        Outputs(),
        (blob,),
        str(folder / "model.onnx"),
        input_names=["images"],
        output_names=["boxes", "scores", "labels"],
        opset_version=17,
        dynamo=False,
    )
    return [
        (label - 1, score, box)
        for label, score, box in zip(labels.tolist(), scores.tolist(), boxes.tolist(), strict=True)
    ]


PROGRAMS = {"yolos": yolos_network, "ssdlite": ssdlite_network}

if __name__ == "__main__":
    torch.manual_seed(7)
    kind, target = sys.argv[1], Path(sys.argv[2])
    os.chdir(target)
    answer = PROGRAMS[kind](target) if kind in PROGRAMS else ultralytics_network(kind, target)
    (target / "answer.json").write_text(json.dumps(answer))
