import numpy as np
import pytest
from lodeworks_detector.input_size import choose_input_size


def _boxes(side):
    return np.array([[0, 0, side, side]] * 20, dtype=np.float32)


@pytest.mark.parametrize(
    ("shape", "side", "size"),
    [
        ((480, 640), 60, (256, 320)),  # as the pictures
        ((640, 480), 60, (320, 256)),
        ((480, 640), 13, (320, 416)),  # small objects ask for more
        ((2000, 2000), 20, (640, 640)),  # never more than this
        ((96, 128), 10, (96, 128)),  # never more than the pictures have
        ((20, 20), 5, (64, 64)),
        ((100, 1000), 100, (160, 320)),  # very long pictures
    ],
)
def test_the_size_follows_the_pictures(shape, side, size):
    assert choose_input_size([shape] * 5, [_boxes(side)] * 5) == size


def test_mixed_proportions_make_a_square():
    shapes = [(480, 640), (640, 480)] * 10
    assert choose_input_size(shapes, [_boxes(60)] * 20) == (320, 320)


def test_pictures_without_boxes_ask_for_nothing_more():
    assert choose_input_size([(480, 640)], [np.empty((0, 4), dtype=np.float32)]) == (256, 320)
