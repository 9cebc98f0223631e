"""Networks trained elsewhere go the whole way: imported, evaluated, published, and run as the device would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bad_sources import archive
from foreign_networks import CLASSES, model_info, save_foreign
from lodeworks_formats.package import unpack
from lodeworks_runtime import load_onnx, load_package
from made_network import encoded, made_picture

if TYPE_CHECKING:
    from local_installation import LocalWorld

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def ants(world: LocalWorld) -> LocalWorld:
    """An installation with a labelled dataset of the networks' classes."""
    files: dict[str, bytes | str] = {}
    for seed in range(6):
        image, squares = made_picture(seed, size=(90, 140), count=3)
        boxes = "".join(
            f"<object><name>{CLASSES[seed % 3]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>"
            for _, x, y, w, h in squares
        )
        files[f"images/{seed}.png"] = encoded(image)
        files[f"gt/{seed}.xml"] = f"<annotation>{boxes}</annotation>"
    world.lode("class", "add", *CLASSES)
    world.lode("dataset", "import", archive(world.folder / "ants.zip", files), "--to", "ants")
    return world


@pytest.mark.parametrize("family", ["detr", "yolox"])
def test_a_foreign_network_goes_the_whole_way(ants: LocalWorld, family: str):
    path = save_foreign(ants.folder / f"{family}.onnx", family=family)
    overlap = model_info(family)["nms_iou"]
    said = ants.lode(
        "model", "import", path, "--decoder", family, "--class", ",".join(CLASSES), "--set", f"nms_iou={overlap}"
    )
    assert f"{family}@1" in said.out
    evaluation = ants.lode("model", "evaluate", family, "--on", "ants")
    assert "mAP50" in evaluation.out
    ants.lode("model", "publish", family, "--calibrate", "ants", "--guard", "ants", "--precision", "fp32")
    ants.lode("algorithm", "download", f"{family}@1", ants.folder / f"packed-{family}")
    info = model_info(family, score_threshold=0.25)
    wanted = load_onnx(save_foreign(ants.folder / "described.onnx", family=family, info=info))
    image = np.full((90, 140, 3), 80, np.uint8)
    packed = sorted((ants.folder / f"packed-{family}").iterdir())
    assert len(packed) == 2
    for number, tar in enumerate(packed):
        folder = ants.folder / f"unpacked-{family}-{number}"
        unpack(tar, folder)
        found = load_package(folder).predict([image])[0]
        boxes = wanted.predict([image])[0]
        assert len(boxes) > 5
        assert [box.class_name for box in found] == [box.class_name for box in boxes]
        for one, other in zip(found, boxes, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert (one.x, one.y, one.w, one.h) == pytest.approx((other.x, other.y, other.w, other.h), abs=0.05)


def test_what_cannot_be_imported_says_why_and_leaves_nothing_usable(ants: LocalWorld):
    path = save_foreign(ants.folder / "odd.onnx", family="yolov8")
    said = ants.lode("model", "import", path, "--class", "ant,bee,cat", ok=False)
    assert said.code == 1
    assert "decoder" in said.err
    assert "yolov8" in said.err
    said = ants.lode("model", "import", path, "--decoder", "yolov8", "--class", "ant,bee,dog", ok=False)
    assert (said.code, "dog" in said.err) == (2, True)
    said = ants.lode("model", "import", path, "--decoder", "yolov8", "--set", "size=3", "--class", "ant", ok=False)
    assert (said.code, "unknown option 'size'" in said.err) == (2, True)
    wrong = ants.folder / "model.pt"
    wrong.write_bytes(b"a pickle")
    said = ants.lode("model", "import", wrong, ok=False)
    assert (said.code, "ONNX file or a YMIR model package" in said.err) == (2, True)
    assert all(version["state"] != "ready" for version in ants.json("model", "history", "odd"))


def test_the_client_library_imports_too(ants: LocalWorld):
    path = save_foreign(ants.folder / "lib.onnx", family="yolov5", info=model_info("yolov5"))
    with ants.client() as client:
        version = client.project().models.import_from(path, name="library").result()
        assert version.name == "library@1"
        assert list(version.data.class_names) == list(CLASSES)
