import numpy as np
import pytest
from lodeworks_detector.augment import Augmentation, augment
from lodeworks_runtime import letterbox

STILL = Augmentation(scale=(1.0, 1.0), aspect=0.0, flip_x=0.0, flip_y=0.0, gamma=0.0, gain=0.0)
BOX = np.array([[20, 10, 40, 30]], dtype=np.float32)


@pytest.fixture
def picture():
    """Black, with a white box at BOX."""
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[10:30, 20:40] = 255
    return image


def _bounds(canvas):
    rows, columns = np.nonzero(canvas[..., 0] > 180)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_without_changes_it_is_the_letterbox(picture):
    canvas, boxes, visible = augment(picture, BOX, size=(64, 64), how=STILL, random=np.random.default_rng(0))
    wanted, placement = letterbox(picture, size=(64, 64))
    assert visible.all()
    np.testing.assert_allclose(boxes, placement.to_input(BOX), atol=0.5)
    assert np.abs(canvas.astype(int) - wanted).mean() < 4


def test_a_picture_that_fits_is_left_as_it_is(picture):
    canvas, boxes, _ = augment(picture, BOX, size=(60, 80), how=STILL, random=np.random.default_rng(0))
    assert np.array_equal(canvas, picture)
    assert np.array_equal(boxes, BOX)


@pytest.mark.parametrize("seed", range(12))
def test_boxes_go_where_the_pixels_go(picture, seed):
    how = Augmentation(scale=(0.8, 1.2), gamma=0.0, gain=0.0)
    canvas, boxes, visible = augment(picture, BOX, size=(96, 128), how=how, random=np.random.default_rng(seed))
    assert visible.all()
    np.testing.assert_allclose(_bounds(canvas), boxes[0], atol=1.0)


def test_mirrors_move_boxes(picture):
    both = Augmentation(scale=(1.0, 1.0), aspect=0.0, flip_x=1.0, flip_y=1.0, gamma=0.0, gain=0.0)
    canvas, boxes, _ = augment(picture, BOX, size=(60, 80), how=both, random=np.random.default_rng(0))
    assert np.array_equal(canvas, picture[::-1, ::-1])
    assert boxes.tolist() == [[40, 30, 60, 50]]


def test_boxes_that_are_mostly_cut_off_are_no_longer_visible(picture):
    how = Augmentation(scale=(4.0, 4.0001), aspect=0.0, flip_x=0.0, flip_y=0.0)
    corner = np.array([[0, 0, 80, 60], [0, 0, 1, 1]], dtype=np.float32)
    _, boxes, visible = augment(picture, corner, size=(60, 80), how=how, random=np.random.default_rng(1))
    assert not visible[0]
    assert (boxes >= 0).all()
    assert (boxes[:, [0, 2]] <= 80).all()


def test_a_picture_without_boxes_stays_without(picture):
    none = np.empty((0, 4), dtype=np.float32)
    _, boxes, visible = augment(picture, none, size=(64, 64), how=Augmentation(), random=np.random.default_rng(0))
    assert boxes.shape == (0, 4)
    assert visible.shape == (0,)
