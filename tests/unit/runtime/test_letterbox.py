import numpy as np
import pytest
from lodeworks_runtime.letterbox import letterbox, plan_letterbox


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_keeps_proportions_and_centres():
    canvas, box = letterbox(picture(480, 640), size=(256, 320))
    assert canvas.shape == (256, 320, 3)
    assert (box.pad_x, box.pad_y, box.scale) == (0, 8, 0.5)
    assert (canvas[:8] == 114).all()
    assert (canvas[248:] == 114).all()
    assert not (canvas[8:248] == 114).all()


def test_writes_into_the_buffer_and_leaves_nothing_of_the_last_picture():
    buffer = np.zeros((64, 64, 3), np.uint8)
    letterbox(picture(64, 64), size=(64, 64), out=buffer)
    wide, _ = letterbox(picture(32, 128), size=(64, 64), out=buffer)
    assert wide is buffer
    fresh, _ = letterbox(picture(32, 128), size=(64, 64))
    assert np.array_equal(buffer, fresh)


@pytest.mark.parametrize("shape", [(480, 640), (37, 911), (911, 37), (5, 3), (64, 64), (1, 4000)])
def test_boxes_go_there_and_back(shape):
    _, box = letterbox(picture(*shape), size=(64, 96))
    corners = np.array([[0, 0, shape[1], shape[0]], [shape[1] / 4, shape[0] / 4, shape[1] / 2, shape[0] / 2]])
    back = box.to_picture(box.to_input(corners))
    assert np.allclose(back, corners, atol=1e-3 * max(shape))


def test_the_whole_picture_fills_the_resized_region_exactly():
    box, (height, width) = plan_letterbox((333, 517), size=(256, 320))
    corners = box.to_input(np.array([[0, 0, 517, 333]]))[0]
    assert corners.tolist() == pytest.approx([box.pad_x, box.pad_y, box.pad_x + width, box.pad_y + height], abs=1e-3)


def test_clips_to_the_picture():
    _, box = letterbox(picture(100, 100), size=(50, 100))
    assert box.to_picture(np.array([[-20.0, -20, 200, 200]])).tolist() == [[0, 0, 100, 100]]


def test_equal_pictures_stay_equal_bit_for_bit():
    first, _ = letterbox(picture(100, 130), size=(64, 64))
    second, _ = letterbox(np.ascontiguousarray(picture(100, 260)[:, :130]), size=(64, 64))
    assert first.shape == second.shape
    third, _ = letterbox(picture(100, 130), size=(64, 64))
    assert np.array_equal(first, third)


def test_a_slice_of_a_larger_picture_is_taken_as_it_is():
    large = picture(200, 260)
    inside, _ = letterbox(large[10:110, 20:150], size=(64, 64))
    copied, _ = letterbox(large[10:110, 20:150].copy(), size=(64, 64))
    assert np.array_equal(inside, copied)
