import numpy as np
import pytest
from lodeworks_detector.augment import Augmentation
from lodeworks_detector.mosaic import mosaic

SIZE = (64, 96)
STILL = Augmentation(aspect=0.0, flip_x=0.0, flip_y=0.0, gamma=0.0, gain=0.0)


def _pictures():
    """Four pictures, each of one grey with a lighter box in it, and that box."""
    made = []
    for number in range(4):
        image = np.full((60, 90, 3), 20 * number + 20, dtype=np.uint8)
        image[20:40, 30:60] = 200 + 10 * number
        made.append((image, np.array([[30, 20, 60, 40]], dtype=np.float32)))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_boxes_lie_where_their_objects_went(seed):
    canvas, boxes, visible = mosaic(_pictures(), size=SIZE, how=STILL, random=np.random.default_rng(seed))
    assert canvas.shape == (*SIZE, 3)
    for number, (corners, seen) in enumerate(zip(boxes, visible, strict=True)):
        for left, top, right, bottom in corners[seen]:
            assert 0 <= left < right <= SIZE[1]
            assert 0 <= top < bottom <= SIZE[0]
            middle = canvas[int((top + bottom) / 2), int((left + right) / 2)]
            assert abs(int(middle[0]) - (200 + 10 * number)) <= 2
    assert any(seen.any() for seen in visible)


def test_all_four_are_in_it():
    canvas, _, _ = mosaic(_pictures(), size=SIZE, how=STILL, random=np.random.default_rng(0))
    for grey in (20, 40, 60, 80):
        assert (canvas == grey).any()
