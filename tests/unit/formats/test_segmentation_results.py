"""Results of segmentation: a COCO document where detections would stand."""

import io
import json

import pytest
from lodeworks_formats.annotations.coco import INPUT, parse_coco, write_coco
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segmentation_results import write_segmentation
from lodeworks_formats.ymir_results import parse_inference_result

POLYGON = "[[2.0,4.0,10.0,4.0,10.0,14.0]]"
PLAIN = '{"size":[20,30],"counts":[40,5,555]}'


def _document(*annotations: dict, **changes: object) -> bytes:
    document = {
        "images": [{"id": 7, "file_name": "/in/assets/ab/a.png", "width": 30, "height": 20}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": number, "image_id": 7, **one} for number, one in enumerate(annotations)],
    }
    return json.dumps({**document, **changes}).encode()


def test_a_coco_document_is_a_result_with_outlines():
    found = parse_inference_result(
        _document(
            {"category_id": 1, "segmentation": json.loads(POLYGON), "bbox": [2, 4, 8, 10], "score": 0.75},
            {"category_id": 2, "segmentation": json.loads(PLAIN)},
        )
    )
    polygon, mask = found["a.png"]
    assert (polygon.class_name, polygon.score, polygon.shape) == ("cat", 0.75, POLYGON)
    assert (mask.class_name, mask.score, mask.shape) == ("dog", 1.0, PLAIN)
    assert (mask.x, mask.y, mask.w, mask.h) == (2.0, 0.0, 1.0, 5.0)


def test_scores_stay_between_0_and_1_and_what_has_no_area_goes():
    shape = json.loads(POLYGON)
    found = parse_inference_result(
        _document(
            {"category_id": 1, "segmentation": shape, "score": -0.25},
            {"category_id": 1, "segmentation": shape, "score": 1.5},
            {"category_id": 1, "segmentation": shape, "bbox": [2, 4, 0, 10]},
        )
    )
    assert [box.score for box in found["a.png"]] == [0.0, 1.0]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused_and_not_taken_for_certain(score):
    with pytest.raises(FormatError, match="not a number"):
        parse_inference_result(_document({"category_id": 1, "segmentation": json.loads(POLYGON), "score": score}))


def test_a_broken_outline_is_dropped_and_its_box_kept():
    (box,) = parse_inference_result(_document({"category_id": 1, "segmentation": [[1, 2]], "bbox": [2, 4, 8, 10]}))[
        "a.png"
    ]
    assert (box.shape, box.w) == (None, 8.0)


@pytest.mark.parametrize(
    "data",
    [
        _document({"category_id": 3, "bbox": [2, 4, 8, 10]}),
        _document({"category_id": 1, "segmentation": [[1, 2]]}),
        _document({"category_id": 1, "bbox": [2, 4, 8, 10], "score": "high"}),
        _document({"category_id": 1, "bbox": [2, 4, 8, 10], "image_id": 8}),
        _document(annotations=[3]),
        _document(images=[{"id": 1}]),
        _document(categories=[{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]),
        b'{"images": []}',
        _document(images=[{"id": number, "file_name": f"{number}/a.png"} for number in (7, 8)]),
    ],
)
def test_a_bad_document_is_refused(data):
    with pytest.raises(FormatError) as caught:
        parse_inference_result(data)
    assert (caught.value.reason, caught.value.file) == ("BAD_RESULT", "infer-result.json")


@pytest.mark.parametrize("shape", [POLYGON, PLAIN])
def test_what_an_executor_writes_comes_back(shape):
    boxes = (Box("dog", 2.0, 4.0, 8.0, 10.0, score=0.5, shape=shape), Box("cat", 1.0, 1.0, 3.0, 3.0, score=0.25))
    stream = io.StringIO()
    picture = Picture("a" * 64, "png", 30, 20, predictions=boxes)
    write_segmentation(stream, [picture], class_names=["cat", "dog"])
    assert parse_inference_result(stream.getvalue()) == {f"{'a' * 64}.png": boxes}


@pytest.mark.parametrize("shape", [POLYGON, PLAIN])
def test_executors_get_outlines_beside_whole_pixels(shape):
    stream = io.StringIO()
    picture = Picture("a" * 64, "png", 30, 20, boxes=(Box("dog", 2.0, 4.0, 8.0, 10.0, shape=shape),))
    write_coco(stream, [picture], class_names=["dog"], form=INPUT)
    (box,) = parse_coco(stream.getvalue().encode()).images[picture.upright_name].boxes
    assert (box.shape, box.x, box.w) == (shape, 2.0, 8.0)
