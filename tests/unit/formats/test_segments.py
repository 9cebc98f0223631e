"""Parquet files: what is written comes back, the same input gives the same bytes, anything else is refused."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lodeworks_formats import segments
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture

edges = st.floats(0, 4000, width=32)
sizes = st.floats(0.5, 4000, width=32)
scores = st.none() | st.floats(0, 1, width=32)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
boxes = st.builds(
    Box,
    class_name=words,
    x=edges,
    y=edges,
    w=sizes,
    h=sizes,
    score=scores,
    rotation=st.floats(-3, 3, width=32),
    box_quality=scores,
    tags=st.lists(words, max_size=2).map(tuple),
    attributes=st.dictionaries(words, words, max_size=2),
    crowd=st.booleans(),
    difficult=st.booleans(),
    shape=st.none() | words,
)
box_lists = st.none() | st.lists(boxes, max_size=3).map(tuple)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
pictures = st.builds(
    Picture,
    digest=digests,
    extension=st.sampled_from(["jpg", "png", "webp"]),
    width=st.integers(1, 10000),
    height=st.integers(1, 10000),
    orientation=st.integers(1, 8),
    channels=st.integers(1, 4),
    size_bytes=st.integers(0, 1 << 40),
    names=st.lists(words, max_size=2).map(tuple),
    tags=st.lists(words, max_size=2).map(tuple),
    split=st.none() | words,
    boxes=box_lists,
    predictions=box_lists,
    derived_digest=st.none() | digests,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(pictures, max_size=7), st.integers(1, 4))
def test_pictures_come_back(tmp_path_factory, rows, row_group):
    path = tmp_path_factory.mktemp("segments") / "view"
    assert segments.write_pictures(path, rows, row_group=row_group) == len(rows)
    assert list(segments.read_pictures(path)) == rows


def _rows(count):
    kinds = (None, (), (Box("cell", 1, 2, 3, 4),))
    return [
        Picture(hashlib.sha256(bytes([i])).hexdigest(), "jpg", 64, 48, names=(f"{i}.jpg",), boxes=kinds[i % 3])
        for i in range(count)
    ]


def test_same_input_same_bytes(tmp_path):
    for name in "ab":
        segments.write_pictures(tmp_path / name, iter(_rows(100)), kind="view", class_names=["cell"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_metadata_tells_the_class_order(tmp_path):
    path = tmp_path / "view"
    segments.write_pictures(path, _rows(5), kind="view", class_names=["b", "a"], class_map_revision=7)
    assert segments.pictures_metadata(path) == segments.PicturesMetadata("view", ("b", "a"), 7, 5)
    segments.write_pictures(path, [])
    assert segments.pictures_metadata(path) == segments.PicturesMetadata("pictures", None, None, 0)


def test_arrow_batches_are_the_same_file(tmp_path):
    segments.write_pictures(tmp_path / "rows", _rows(50), kind="view")
    batches = segments.read_picture_batches(tmp_path / "rows")
    assert segments.write_picture_batches(tmp_path / "batches", batches, kind="view") == 50
    assert list(segments.read_pictures(tmp_path / "batches")) == _rows(50)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "text").write_text("no parquet")
    segments.write_scores(tmp_path / "scores", [("00" * 32, 0.5)])
    for name in ("text", "scores", "missing"):
        with pytest.raises(FormatError) as caught:
            list(segments.read_pictures(tmp_path / name))
        assert caught.value.reason == "WRONG_SCHEMA"


def test_scores_come_back_and_must_be_numbers(tmp_path):
    path = tmp_path / "scores"
    rows = [("ab" * 32, 0.25), ("cd" * 32, -1.5)]
    assert segments.write_scores(path, rows) == 2
    assert list(segments.read_scores(path)) == rows
    with pytest.raises(FormatError, match="not a number"):
        segments.write_scores(path, [("ab" * 32, float("nan"))])


def test_members_cost_next_to_nothing(tmp_path):
    count = 100_000
    tags = pa.array([[]] * count, segments.MEMBERS_SCHEMA.field("tags").type)
    table = pa.table({"aid": pa.array(range(count)), "rec": pa.array(range(count)), "tags": tags})
    path = tmp_path / "members"
    segments.write_segment(path, table, schema=segments.MEMBERS_SCHEMA)
    assert path.stat().st_size < 5_000
    assert segments.read_segment(path, schema=segments.MEMBERS_SCHEMA).column("aid").to_pylist() == list(range(count))


def test_a_segment_keeps_its_schema(tmp_path):
    path = Path(tmp_path, "counts")
    with pytest.raises(FormatError, match="does not fit"):
        segments.write_segment(path, pa.table({"rec": [1]}), schema=segments.COUNTS_SCHEMA)
    table = pa.table({"rec": [1], "rid": [2], "n": [3]})
    segments.write_segment(path, table, schema=segments.COUNTS_SCHEMA)
    with pytest.raises(FormatError, match="another kind"):
        segments.read_segment(path, schema=segments.BOXES_SCHEMA)
