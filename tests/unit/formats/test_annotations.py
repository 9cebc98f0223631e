"""Annotations: what we write we read back; executors get whole pixels. Broken files are refused."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lodeworks_formats import outlines
from lodeworks_formats.annotations import ark, coco, frame, voc, yolo
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from pycocotools import mask as judge

WIDTH, HEIGHT = 640, 480
PICTURE = Picture("ab" * 32, "jpg", WIDTH, HEIGHT)

plain = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="￾￿")
names = st.text(plain, min_size=1, max_size=12).map(str.strip).filter(lambda name: name and name.isprintable())
tags = st.text(plain, min_size=1, max_size=12)
shares = st.none() | st.floats(0, 1, width=32)


@st.composite
def boxes(draw):
    x, y = draw(st.floats(0, WIDTH - 1, width=32)), draw(st.floats(0, HEIGHT - 1, width=32))
    w, h = draw(st.floats(0.03125, WIDTH, width=32)), draw(st.floats(0.03125, HEIGHT, width=32))
    return Box(
        draw(names),
        x,
        y,
        w,
        h,
        score=draw(shares),
        rotation=draw(st.sampled_from([0.0, 0.5, -1.25])),
        box_quality=draw(shares),
        tags=tuple(draw(st.lists(tags, max_size=2))),
        attributes=draw(st.dictionaries(names, st.text(plain, max_size=5), max_size=2)),
        crowd=draw(st.booleans()),
        difficult=draw(st.booleans()),
        shape=draw(st.none() | st.just("[[1,2,3,4,5,6]]")),
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(boxes(), max_size=4), st.lists(tags, max_size=2))
def test_voc_comes_back_whole(rows, words):
    picture = replace(PICTURE, tags=tuple(words))
    read = voc.parse_voc(voc.render_voc(picture, rows, filename="a.jpg"))
    assert read.boxes == tuple(rows)
    assert read.problems == ()
    assert (read.filename, read.width, read.height, read.tags) == ("a.jpg", WIDTH, HEIGHT, tuple(words))


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes(), max_size=4))
def test_coco_comes_back_whole(rows):
    classes = sorted({row.class_name.casefold(): row.class_name for row in rows}.values())
    spelling = {name.casefold(): name for name in classes}
    rows = [replace(row, class_name=spelling[row.class_name.casefold()]) for row in rows]
    sink = io.StringIO()
    pictures = [replace(PICTURE, boxes=tuple(rows), names=("a.jpg",))]
    coco.write_coco(sink, pictures, class_names=classes, form=coco.USER, names=lambda picture: picture.names[0])
    read = coco.parse_coco(sink.getvalue().encode())
    assert read.class_names == tuple(classes)
    assert tuple(read.images["a.jpg"].boxes) == tuple(rows)


@settings(max_examples=100, deadline=None)
@given(boxes())
def test_executors_get_whole_pixels_inside(box):
    x1, y1, x2, y2 = frame.integer_edges(box, width=WIDTH, height=HEIGHT)
    assert 0 <= x1 <= x2 < WIDTH
    assert 0 <= y1 <= y2 < HEIGHT


def test_a_tag_called_object_is_no_object():
    picture = replace(PICTURE, tags=("object",))
    rows = (Box("a", 1, 1, 5, 5, tags=("object", "name")),)
    read = voc.parse_voc(voc.render_voc(picture, rows, filename="a.jpg"))
    assert (read.boxes, read.problems, read.tags) == (rows, (), ("object",))


def test_voc_counts_corners_inclusively():
    read = voc.parse_voc(_voc("<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20.5</ymax>"))
    assert read.boxes == (Box("cell", 1, 2, 10, 19.5),)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("<xmin>5</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax>", "ZERO_AREA_BOX"),
        ("<xmin>5</xmin><ymin>9</ymin><xmax>8</xmax><ymax>5</ymax>", "ZERO_AREA_BOX"),
        ("<xmin>5</xmin><ymin>5</ymin><xmax>nan</xmax><ymax>9</ymax>", "BAD_BOX"),
        ("<xmin>5</xmin><ymin>5</ymin><xmax>1e400</xmax><ymax>9</ymax>", "BAD_BOX"),
        ("<xmin>5</xmin><ymin>5</ymin><ymax>9</ymax>", "BAD_BOX"),
    ],
)
def test_bad_boxes_are_named_with_their_line(place, reason):
    read = voc.parse_voc(_voc("<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax>", place))
    assert len(read.boxes) == 1
    assert [(problem.reason, problem.line) for problem in read.problems] == [(reason, 3)]


@pytest.mark.parametrize("shape", ["[[1,2]]", "rectangle", "[" * 5000])
def test_voc_names_an_outline_that_cannot_be_read_and_keeps_its_box(shape):
    place = "<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax>"
    data = _voc(place, place).replace(b"</object>", f"<shape>{shape}</shape></object>".encode(), 1)
    read = voc.parse_voc(data)
    assert [box.shape for box in read.boxes] == [None, None]
    (problem,) = read.problems
    assert (problem.reason, problem.class_name, problem.line, problem.fatal) == ("SHAPE_DROPPED", "cell", 2, False)


def _voc(*places):
    items = "\n".join(f"<object><name> cell </name><bndbox>{place}</bndbox></object>" for place in places)
    return f"<annotation>\n{items}\n</annotation>".encode()


@pytest.mark.parametrize(
    ("data", "reason", "line"),
    [
        (b"", "BROKEN_XML", None),
        (b"<annotation>\n<object>", "BROKEN_XML", 2),
        (b"<html/>", "NOT_VOC", None),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "HOSTILE_XML", None),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>', "HOSTILE_XML", None),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'.encode("utf-16"), "HOSTILE_XML", None),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', "BROKEN_XML", None),
        (b"\xff\xd8\xff\xe0 a picture", "BROKEN_XML", None),
    ],
)
def test_broken_and_hostile_xml_is_refused(data, reason, line):
    with pytest.raises(FormatError) as caught:
        voc.parse_voc(data)
    assert caught.value.reason == reason
    assert line is None or caught.value.line == line


def test_xml_cannot_carry_every_name():
    with pytest.raises(FormatError, match="rename"):
        voc.render_voc(PICTURE, [Box("a\x00b", 1, 1, 5, 5)], filename="a.jpg")


def test_executor_voc_holds_chosen_classes_in_their_spelling():
    boxes = [Box("CELL", 0.4, 0.6, 10.2, 640), Box("other", 1, 1, 5, 5), Box("cell", 1, 1, 5, 5, box_quality=0.5)]
    data = voc.render_voc_input(PICTURE, boxes, asset_path="/in/assets/ab/x.jpg", class_names=["cell"])
    read = voc.parse_voc(data)
    assert [box.class_name for box in read.boxes] == ["cell", "cell"]
    assert read.boxes[0] == Box("cell", 0, 1, 11, 479)
    assert read.boxes[1].box_quality == 0.5
    assert read.filename == "/in/assets/ab/x.jpg"
    assert b"<rotate_angle>0.0</rotate_angle>" in data
    assert b"<box_quality>-1.0</box_quality>" in data


def test_ark_is_what_ymir_writes():
    boxes = [Box("b", 10, 20, 30, 40), Box("A", 1, 2, 3, 4, box_quality=0.5, rotation=0.25), Box("c", 1, 1, 5, 5)]
    text = ark.render_ark(boxes, class_names=["a", "b"], width=WIDTH, height=HEIGHT)
    assert text == "1, 10, 20, 39, 59, -1.0, 0.0\n0, 1, 2, 3, 5, 0.5, 0.25\n"
    assert ark.parse_ark(text, class_names=["a", "b"]) == (boxes[0], replace(boxes[1], class_name="a"))
    assert ark.parse_ark("0, 1, 2, 3, 5\n", class_names=["a"]) == (Box("a", 1, 2, 3, 4),)


@pytest.mark.parametrize("line", ["x, 1, 2, 3, 4", "0, 1, 2", "7, 1, 2, 3, 4", "0, 5, 2, 3, 4", "0, nan, 2, 3, 4"])
def test_a_broken_ark_line_is_named(line):
    with pytest.raises(FormatError) as caught:
        ark.parse_ark(f"0, 1, 2, 3, 4\n{line}\n", class_names=["a"], file="a.txt")
    assert (caught.value.reason, caught.value.file, caught.value.line) == ("BAD_ARK", "a.txt", 2)


def test_executor_coco_counts_categories_from_zero():
    sink = io.StringIO()
    pictures = [replace(PICTURE, boxes=(Box("b", 10.4, 20, 30, 40), Box("other", 1, 1, 5, 5)))]
    assert coco.write_coco(sink, pictures, class_names=["a", "b"], form=coco.INPUT) == 1
    raw = json.loads(sink.getvalue())
    assert [(item["id"], item["name"]) for item in raw["categories"]] == [(0, "a"), (1, "b")]
    assert raw["images"][0]["file_name"] == PICTURE.hash_name
    assert raw["annotations"][0]["bbox"] == [10, 20, 30, 40]
    assert raw["annotations"][0]["category_id"] == 1


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"images":[{}],"categories":[]}', b'{"images":1,"categories":[]}'])
def test_a_broken_coco_file_is_refused(data):
    with pytest.raises(FormatError) as caught:
        coco.parse_coco(data)
    assert caught.value.reason == "BAD_COCO"


def test_yolo_comes_back_within_a_thousandth_of_a_pixel():
    rows = (Box("b", 10.25, 20.5, 30, 40), Box("a", 0, 0, 640, 480))
    text = yolo.render_yolo_labels(rows, class_names=["a", "b"], width=WIDTH, height=HEIGHT)
    read, problems = yolo.parse_yolo_labels(text, class_names=["a", "b"], width=WIDTH, height=HEIGHT)
    assert problems == ()
    for got, row in zip(read, rows, strict=True):
        assert (got.x, got.y, got.w, got.h) == pytest.approx((row.x, row.y, row.w, row.h), abs=1e-3)
    dataset = yolo.YoloDataset(("a", "b"), {"train": ("images/train",)}, ".")
    assert yolo.parse_yolo_dataset(yolo.render_yolo_dataset(dataset)) == dataset
    assert yolo.parse_yolo_dataset("names: {0: a, 1: b}\n").class_names == ("a", "b")


@pytest.mark.parametrize("text", ["names: {1: a}", "nc: 3", "- a", "names: [", ""])
def test_a_broken_data_yaml_is_refused(text):
    with pytest.raises(FormatError, match=r"data\.yaml"):
        yolo.parse_yolo_dataset(text)


def test_one_pixel_beyond_the_frame_is_tolerated_and_more_is_clipped():
    rows = [Box("a", -1, 0, WIDTH + 2, 10), Box("a", 600, 0, 100, 10), Box("a", 700, 0, 10, 10)]
    kept, problems = frame.fit_to_frame(rows, width=WIDTH, height=HEIGHT)
    assert kept == (rows[0], Box("a", 600, 0, 40, 10))
    assert [(problem.reason, problem.fatal) for problem in problems] == [("BOX_CLIPPED", False), ("BOX_OUTSIDE", True)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_turns_with_its_pixels(orientation):
    image = np.zeros((48, 64), np.uint8)
    image[5:15, 7:27] = 1
    flipped = {2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1], 5: image.T, 6: np.rot90(image, -1)}
    flipped |= {1: image, 7: image[::-1, ::-1].T, 8: np.rot90(image)}
    turned = flipped[orientation]
    rows, columns = np.nonzero(turned)
    box = frame.upright_box(Box("a", 7, 5, 20, 10), orientation=orientation, width=64, height=48)
    assert (box.x, box.y, box.x2, box.y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_turns_with_its_pixels(orientation, compressed):
    image = np.zeros((48, 64), np.uint8)
    image[5:15, 7:27] = image[10:40, 20:24] = image[0, 63] = image[47, 0] = 1
    flipped = {2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1], 5: image.T, 6: np.rot90(image, -1)}
    flipped |= {1: image, 7: image[::-1, ::-1].T, 8: np.rot90(image)}
    raw = judge.encode(np.asfortranarray(image))
    shape = {"size": [48, 64], "counts": raw["counts"].decode()}
    if not compressed:
        shape["counts"] = list(outlines.read_mask(shape).counts)
    given = Box("a", 0, 0, 64, 48, shape=json.dumps(shape))
    turned = json.loads(frame.upright_box(given, orientation=orientation, width=64, height=48).shape)
    assert isinstance(turned["counts"], str) is compressed
    drawn = np.zeros(turned["size"], np.uint8)
    for column, runs in enumerate(outlines.read_mask(turned).columns()):
        for first, end in runs:
            drawn[first:end, column] = 1
    assert (drawn == flipped[orientation]).all()


def test_a_mask_of_another_size_cannot_turn_along():
    given = Box("a", 0, 0, 64, 48, shape='{"size":[24,32],"counts":[768]}')
    assert frame.upright_box(given, orientation=6, width=64, height=48).shape is None


@pytest.mark.parametrize("name", ["a\nb", "x" * 201, "a\u200b\x7f"])
def test_class_names_that_nobody_can_type_are_left_out(name):
    data = f"<annotation><object><name>{name}</name><bndbox/></object></annotation>".encode()
    assert [problem.reason for problem in voc.parse_voc(data).problems] == ["BAD_CLASS_NAME"]


def test_sides_that_float32_would_lose_are_none():
    kept, problems = frame.fit_to_frame([Box("a", -10, 0, 10 + 1e-12, 10)], width=WIDTH, height=HEIGHT)
    assert kept == ()
    assert problems[0].reason == "BOX_OUTSIDE"
