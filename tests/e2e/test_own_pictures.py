"""The README's way with real pictures: from two zips to a device that answers as the evaluation says."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from local_installation import LocalWorld, eventually

DATA = os.environ.get("LODE_TEST_DATA", "")
ROOT = Path(__file__).resolve().parents[2]
PICTURES_COMPARED = 20

pytestmark = [
    pytest.mark.soak,  # minutes of training
    pytest.mark.skipif(not DATA, reason="LODE_TEST_DATA names no folder with the BCCD zips"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def released(world: LocalWorld) -> dict[str, Any]:
    """Both zips imported, a model trained with the defaults, evaluated, published."""
    imported = world.lode(
        "dataset", "import", f"{DATA}/bccd-trainval.zip", "--to", "labelled", "--unknown-classes", "add"
    )
    world.lode("dataset", "import", f"{DATA}/bccd-test.zip", "--to", "test")
    world.lode("dataset", "split", "labelled", "--to", "train=80,val=20")
    trained = world.json("model", "train", "--train", "train", "--val", "val", "-n", "cells")
    evaluation = world.json("model", "evaluate", "cells", "--on", "test")
    release = world.json("model", "publish", "cells", "--calibrate", "train", "--guard", "val")
    task = world.json("task", "show", trained["task_id"])
    return {"import": imported.err, "model": trained, "evaluation": evaluation, "release": release, "task": task}


def test_the_import_names_the_two_zero_area_boxes(released):
    assert released["import"].count("ZERO_AREA_BOX") == 2


def test_the_model_is_good_after_little_work(released):
    assert released["evaluation"]["ap50"] >= 0.80
    assert released["evaluation"]["ap"] >= 0.42
    assert all(score["ap50"] >= 0.70 for score in released["evaluation"]["classes"])


def test_int8_holds_its_accuracy_and_is_faster(released):
    packages = {package["variant"]: package for package in released["release"]["packages"]}
    assert set(packages) == {"onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"}
    int8 = packages["openvino-int8"]
    assert int8["drop"] <= 0.01
    print({name: (package["ap"], package["latency_ms"]) for name, package in packages.items()})


def test_the_device_answers_as_the_evaluation_says(world: LocalWorld, released):
    state = world.enrol_device("gate-1")
    agent = world.start_device(state)
    try:
        device = world.json("algorithm", "deploy", released["release"]["name"], "gate-1", "--conf", "0.3")
        variant = device["desired"][0]["variant"]
        evaluation = world.json(
            *("model", "evaluate", "cells", "--on", "test", "--variant", variant),
            *("--algorithm", released["release"]["name"]),
        )
        with world.client() as client:
            version = client.project().datasets.get("test")
            pictures = []
            for picture in version.pictures(prediction_set_id=evaluation["prediction_set_id"]):
                pictures.append((picture, version.picture_bytes(picture)))
                if len(pictures) == PICTURES_COMPARED:
                    break
        eventually(lambda: bool(world.json("device", "show", "gate-1")["http_address"]))
        address = world.json("device", "show", "gate-1")["http_address"].removeprefix("http://")
        for picture, data in pictures:
            answered = [box for box in _ask(address, data) if box[1] >= 0.3]
            evaluated = [
                (box.class_name, box.score, (box.x, box.y, box.w, box.h))
                for box in picture.predictions
                if box.score >= 0.3
            ]
            _same(answered, evaluated)
    finally:
        agent.terminate()
        agent.wait(20)


def _ask(address: str, data: bytes) -> list[tuple[str, float, tuple[float, float, float, float]]]:
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/v1/algorithms/cells:infer", data, {"Content-Type": "image/jpeg"})
    answer = json.load(connection.getresponse())
    connection.close()
    assert answer["code"] == 0, answer
    return [
        (
            found["class_name"],
            found["confidence"],
            tuple(found["rect"][key] for key in ("left", "top", "width", "height")),
        )
        for found in answer["data"]["results"]
    ]


def _same(answered, evaluated) -> None:
    """Every evaluated box is answered at IoU ≥ 0.99 and Δscore ≤ 0.005, and no other is."""
    assert len(answered) == len(evaluated)
    left = list(answered)
    for name, score, box in evaluated:
        match = next(
            (
                found
                for found in left
                if found[0] == name and abs(found[1] - score) <= 0.005 and _iou(found[2], box) >= 0.99
            ),
            None,
        )
        assert match is not None, f"{name} {score:.3f} at {box} is not in the answer"
        left.remove(match)


def _iou(a, b) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def test_the_example_of_the_client_library_goes_the_same_way(world: LocalWorld):
    example = ROOT / "clients/python/examples/own_pictures.py"
    done = subprocess.run(
        [sys.executable, str(example), f"{DATA}/bccd-trainval.zip", f"{DATA}/bccd-test.zip", "--epochs", "3"],
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mAP50" in done.stdout
    assert "openvino-int8" in done.stdout
