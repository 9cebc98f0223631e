"""Outlines, with pycocotools as the judge of run lengths."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.outlines import check_outline, outline_edges, read_mask, scale_outline
from pycocotools import mask as judge

MASKS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
        lambda bits: np.array(bits, np.uint8).reshape(size)
    )
)


def _compressed(bits: np.ndarray) -> dict:
    raw = judge.encode(np.asfortranarray(bits))
    return {"size": [int(side) for side in raw["size"]], "counts": raw["counts"].decode()}


def _bits(text: str) -> np.ndarray:
    raw = json.loads(text)
    if isinstance(raw["counts"], list):
        raw = judge.frPyObjects(raw, *raw["size"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy 2 about the judge's arrays
        return judge.decode(raw)


@given(MASKS)
def test_compressed_and_plain_run_lengths_mean_the_same(bits):
    mask = read_mask(_compressed(bits))
    plain = {"size": list(bits.shape), "counts": list(mask.counts)}
    assert read_mask(plain) == mask
    drawn = np.zeros_like(bits)
    for column, runs in enumerate(mask.columns()):
        for first, end in runs:
            drawn[first:end, column] = 1
    assert (drawn == bits).all()


@given(MASKS.filter(lambda bits: bits.any()))
def test_the_box_around_a_mask_is_the_judges(bits):
    raw = _compressed(bits)
    assert outline_edges(raw) == tuple(judge.toBbox(raw))


@given(MASKS, st.integers(1, 30), st.integers(1, 30))
def test_a_scaled_mask_takes_the_nearest_pixels(bits, height, width):
    factors = {"factor_x": width / bits.shape[1], "factor_y": height / bits.shape[0]}
    rows = np.minimum(((np.arange(height) + 0.5) * bits.shape[0] / height).astype(int), bits.shape[0] - 1)
    columns = np.minimum(((np.arange(width) + 0.5) * bits.shape[1] / width).astype(int), bits.shape[1] - 1)
    raw = _compressed(bits)
    scaled = scale_outline(json.dumps(raw), **factors)
    wanted = bits[rows][:, columns]
    # A middle that falls on the edge between two pixels may be either's.
    edges = {
        axis: np.isclose(((np.arange(count) + 0.5) * size / count) % 1, 0)
        | np.isclose(((np.arange(count) + 0.5) * size / count) % 1, 1)
        for axis, count, size in ((0, height, bits.shape[0]), (1, width, bits.shape[1]))
    }
    sure = ~edges[0][:, None] & ~edges[1][None, :]
    assert _bits(scaled).shape == (height, width)
    assert (_bits(scaled) == wanted)[sure].all()
    plain = {"size": raw["size"], "counts": list(read_mask(raw).counts)}
    assert (_bits(scale_outline(json.dumps(plain), **factors)) == _bits(scaled)).all()


def test_polygons_scale_with_their_box():
    box = Box("cat", 2.0, 4.0, 8.0, 10.0, shape="[[2,4,10,4,10,14]]").scale(factor_x=0.5, factor_y=2.0)
    assert (box.x, box.y, box.w, box.h) == (1.0, 8.0, 4.0, 20.0)
    assert json.loads(box.shape) == [[1.0, 8.0, 5.0, 8.0, 5.0, 28.0]]
    assert outline_edges(json.loads(box.shape)) == (1.0, 8.0, 4.0, 20.0)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "text",
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        {"counts": [4]},
        {"size": [2, 2]},
        {"size": [2, 2], "counts": [3]},
        {"size": [2, 2], "counts": [-1, 5]},
        {"size": [2.0, 2], "counts": [4]},
        {"size": [0, 2], "counts": [0]},
        {"size": [2, 2], "counts": "~~~"},
        {"size": [2, 2], "counts": "P"},
        {"size": [2, 2], "counts": "oooooooooooo"},
        {"size": [100_000, 100_000], "counts": [10_000_000_000]},
        {"size": [1, 100_001], "counts": [100_001]},
    ],
)
def test_a_broken_outline_is_refused(raw):
    with pytest.raises(FormatError) as caught:
        check_outline(raw)
    assert caught.value.reason == "BAD_SHAPE"


def test_what_is_no_json_cannot_be_scaled():
    with pytest.raises(FormatError, match="no JSON"):
        scale_outline("{", factor_x=1.0, factor_y=1.0)
