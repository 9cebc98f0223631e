"""The made set of the benchmark of mining: repeatable, with its parts apart and its first set as promised."""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from mining_rounds.plans import MADE, QUICK
from mining_rounds.scenes import draw_thing_scene
from mining_rounds.sets import open_set, unlabelled


def test_a_set_is_the_same_again_and_its_parts_are_apart(tmp_path):
    found = open_set(QUICK, seed=1, folder=tmp_path / "a", bccd=None)
    again = open_set(QUICK, seed=1, folder=tmp_path / "b", bccd=None)
    other = open_set(QUICK, seed=2, folder=tmp_path / "a", bccd=None)
    assert found.pool == again.pool
    assert found.pool != other.pool
    digests = [{picture.digest for picture in part} for part in (found.pool, found.val, found.test, other.pool)]
    assert [len(part) for part in digests] == [QUICK.pool, QUICK.val, QUICK.test, QUICK.pool]
    assert len(set.union(*digests)) == sum(map(len, digests))
    image = cv2.imread(str(found.asset(found.pool[0])))
    assert image.shape == (QUICK.side, QUICK.side, 3)
    assert all(Path(name).is_file() for name in found.line(found.test[-1]))


def test_the_first_set_holds_each_class_and_the_rest_comes_without_boxes(tmp_path):
    found = open_set(QUICK, seed=1, folder=tmp_path, bccd=None)
    first = found.first(QUICK, seed=1)
    assert len(set(first)) == QUICK.first
    held = {box.class_name for picture in found.pool if picture.digest in first for box in picture.boxes}
    assert held == set(found.class_names)
    rest = unlabelled(found, first)
    assert {picture.digest for picture in rest} == {picture.digest for picture in found.pool} - set(first)
    assert all(picture.boxes is None for picture in rest)


def test_rare_classes_are_rare():
    scenes = [draw_thing_scene(np.random.default_rng(seed), side=64, shares=MADE.shares)[1] for seed in range(400)]
    share = {
        name: np.mean([any(box.class_name == name for box in boxes) for boxes in scenes]) for name in ("ring", "star")
    }
    assert share["ring"] > 0.6
    # Of the pictures with anything in them; of the whole pool it is about half of this.
    assert 0.03 < share["star"] < 0.15
    assert all(min(box.w, box.h) > 5 and box.x >= 0 and box.x2 <= 64 for boxes in scenes for box in boxes)
    assert draw_thing_scene(np.random.default_rng(1), side=64, shares=None)[1] == ()
