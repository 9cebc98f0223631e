import hashlib

import numpy as np
from lodeworks_converters.calibration import Calibration, choose_pictures

DIGESTS = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(200)]


def test_the_choice_depends_on_the_pictures_and_the_seed_alone():
    first = choose_pictures(DIGESTS, count=64, seed=1)
    assert len(set(first)) == 64
    assert first == choose_pictures(reversed(DIGESTS), count=64, seed=1)
    assert first == choose_pictures([*DIGESTS, *DIGESTS], count=64, seed=1)
    assert first != choose_pictures(DIGESTS, count=64, seed=2)


def test_fewer_pictures_than_asked_for_are_all_taken():
    assert choose_pictures(DIGESTS[:5], count=64, seed=1) == tuple(sorted(DIGESTS[:5]))


def test_one_picture_more_changes_little():
    before = set(choose_pictures(DIGESTS[:199], count=64, seed=3))
    after = set(choose_pictures(DIGESTS, count=64, seed=3))
    assert len(before - after) <= 1


def test_inputs_can_be_gone_through_twice():
    inputs = Calibration([lambda: np.zeros((1, 3, 2, 2), np.float32), lambda: np.ones((1, 3, 2, 2), np.float32)])
    assert [float(blob.mean()) for blob in inputs] == [0.0, 1.0]
    assert [float(blob.mean()) for blob in inputs] == [0.0, 1.0]
    assert len(inputs) == 2
