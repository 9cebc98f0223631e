import numpy as np
import pytest
from lodeworks_formats.boxes import Box, iou
from lodeworks_runtime import ModelError, Recipe, load_onnx
from lodeworks_runtime.decoders import decoder_names, find_decoder
from lodeworks_runtime.recipe import Preparer
from made_network import CLASSES, encoded, made_picture, model_info, save_network


@pytest.fixture(scope="module")
def algorithm(tmp_path_factory):
    return load_onnx(save_network(tmp_path_factory.mktemp("network") / "made.onnx"))


def test_answers_in_falling_order_of_score(algorithm):
    boxes = algorithm.predict([made_picture(0, count=4)[0]], score=0.01)[0]
    assert len(boxes) > 4
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
    assert {box.class_name for box in boxes} <= set(CLASSES)


def test_boxes_lie_where_the_squares_are(algorithm):
    for seed in range(8):
        image, squares = made_picture(seed)
        boxes = algorithm.predict([image], score=0.5)[0]
        for name, x, y, w, h in squares:
            wanted = Box(class_name=name, x=x, y=y, w=w, h=h)
            near = [box for box in boxes if box.class_name == name and iou(box, wanted) > 0.5]
            assert near, (seed, wanted, boxes)


def test_boxes_come_back_in_pixels_of_the_picture(algorithm):
    image, squares = made_picture(3)
    larger = np.ascontiguousarray(np.repeat(np.repeat(image, 3, axis=0), 3, axis=1))
    small, large = algorithm.predict([image, larger], score=0.5)
    assert len(small) == len(large) >= len(squares)
    for one, other in zip(small, large, strict=True):
        assert iou(one.scale(factor_x=3, factor_y=3), other) > 0.99


def test_bytes_and_arrays_take_the_same_path(algorithm):
    image, _ = made_picture(5)
    assert algorithm.predict_bytes(encoded(image)) == algorithm.predict([image])[0]


def test_the_company_of_a_picture_changes_nothing(algorithm):
    images = [made_picture(seed)[0] for seed in range(6)]
    together = algorithm.predict(images, score=0.01)
    alone = [algorithm.predict([image], score=0.01)[0] for image in reversed(images)][::-1]
    assert together == alone
    raw = algorithm.outputs(images)
    assert raw.scores.shape == (6, 192, 3)
    assert raw.boxes.shape == (6, 192, 4)
    assert raw.embedding.shape == (6, 6)
    assert np.array_equal(raw.scores[2], algorithm.outputs([images[2]]).scores[0])


def test_a_model_without_embedding_has_an_empty_one(tmp_path):
    algorithm = load_onnx(save_network(tmp_path / "plain.onnx", with_embedding=False))
    assert algorithm.outputs([made_picture(0)[0]]).embedding.shape == (1, 0)


def test_model_info_can_be_given_beside_the_file(tmp_path):
    path = save_network(tmp_path / "made.onnx", info=model_info(classes=["a", "b", "c"]))
    assert load_onnx(path).classes == ("a", "b", "c")
    assert load_onnx(path, model_info=model_info(classes=["d", "e", "f"])).classes == ("d", "e", "f")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input_size": 5}, "input_size"),
        ({"classes": []}, "classes"),
        ({"decoder": "nobody"}, "nobody"),
        ({"score_threshold": "high"}, "score_threshold"),
        ({"nms_iou": 0}, "nms_iou"),
        ({"mean": [0]}, "mean"),
        ({"std": [0, 1, 1]}, "std"),
        ({"colour": "hsv"}, "hsv"),
        ({"letterbox": {"pad": 300}}, "pad"),
    ],
)
def test_a_wrong_description_names_its_key(tmp_path, changes, named):
    path = save_network(tmp_path / "made.onnx", info=model_info(**changes))
    with pytest.raises(ModelError, match=named):
        load_onnx(path)


def test_a_network_that_contradicts_its_description_is_refused(tmp_path):
    path = save_network(tmp_path / "made.onnx", info=model_info(classes=["one"]))
    with pytest.raises(ModelError, match="1 classes"):
        load_onnx(path).predict([made_picture(0)[0]])
    path = save_network(tmp_path / "made.onnx", info=model_info(input_size=[64, 64]))
    with pytest.raises(ModelError, match="refuses an input"):
        load_onnx(path).predict([made_picture(0)[0]])


def test_what_is_no_onnx_file_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"x\.onnx"):
        load_onnx(tmp_path / "x.onnx")


def test_pictures_of_a_wrong_kind_are_refused(algorithm):
    with pytest.raises(ModelError, match="uint8"):
        algorithm.predict([np.zeros((5, 5), np.uint8)])


def test_normalisation_and_colour_order():
    image = np.zeros((8, 8, 3), np.uint8)
    image[...] = (10, 20, 30)
    info = model_info(input_size=[8, 8], mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.125])
    blob, _ = Preparer(Recipe.from_model_info(info))(image)
    expected = [(30 / 255 - 0.1) / 0.5, (20 / 255 - 0.2) / 0.25, (10 / 255 - 0.3) / 0.125]
    assert blob[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)
    blob, _ = Preparer(Recipe.from_model_info({**info, "colour": "bgr", "mean": [0] * 3, "std": [1] * 3}))(image)
    assert blob[0, :, 3, 3].tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255], abs=1e-6)


def test_decoders_are_found_by_name():
    assert "lodeworks" in decoder_names()
    assert find_decoder("lodeworks").name == "lodeworks"
