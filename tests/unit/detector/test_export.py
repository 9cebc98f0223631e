import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from lodeworks_detector.batches import to_input
from lodeworks_detector.export import OPSET, OnnxWriter
from lodeworks_detector.network import Detector, Shape, fuse_norms
from lodeworks_runtime import load_onnx

SIZE = (64, 96)
NAMES = ["cat", "dog", "vögel"]


def _trained(seed):
    """A network whose norms and outputs have moved away from their start."""
    torch.manual_seed(seed)
    model = Detector(classes=3, shape=Shape(width=0.5))
    model.train()
    with torch.no_grad():
        for head in model.heads:
            head.class_out.weight.normal_(std=0.3)
            head.class_out.bias.zero_()
            head.box_out.weight.normal_(std=0.1)
        for _ in range(3):
            model(torch.rand(4, 3, *SIZE))
    return model.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two networks written one after the other by one writer, so that the second has swapped weights."""
    folder = tmp_path_factory.mktemp("onnx")
    writer = OnnxWriter(class_names=NAMES, input_size=SIZE)
    models = [_trained(1), _trained(2)]
    for number, model in enumerate(models):
        writer.write(folder / f"{number}.onnx", fuse_norms(model), score_threshold=0.3)
    return folder, models


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_says_what_torch_says(exported, number, batch):
    folder, models = exported
    images = np.random.default_rng(number).integers(0, 256, (batch, *SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = models[number](to_input(list(images)))
    session = onnxruntime.InferenceSession(folder / f"{number}.onnx", providers=["CPUExecutionProvider"])
    scores, boxes, embedding = session.run(None, {"images": to_input(list(images)).contiguous().numpy()})
    assert scores.shape[0] == batch
    assert scores.max() > 0.5
    assert np.abs(scores - wanted.logits.sigmoid().numpy()).max() <= 1e-4
    assert np.abs(boxes - wanted.boxes.numpy()).max() <= 0.01
    np.testing.assert_allclose(embedding, wanted.embedding.numpy(), atol=1e-4)


def test_the_file_describes_itself(exported):
    folder, _ = exported
    algorithm = load_onnx(folder / "0.onnx")
    assert algorithm.classes == tuple(NAMES)
    assert algorithm.recipe.thresholds.score == 0.3
    model = onnx.load(folder / "0.onnx")
    assert model.opset_import[0].version == OPSET
    assert [output.name for output in model.graph.output] == ["scores", "boxes", "embedding"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    picture = np.zeros((48, 72, 3), dtype=np.uint8)
    boxes = algorithm.predict([picture], score=0.01)[0]
    assert all(box.x >= 0 and box.x2 <= 72 and box.y2 <= 48 for box in boxes)
