"""The statistics of the benchmark of mining, on numbers that are known; its log; its charts."""

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from mining_rounds.charts import draw_curves, draw_gains
from mining_rounds.curves import area, interval, labels_for, mean_curve, standing
from mining_rounds.points import Point, Points, curves_of, standings
from mining_rounds.tables import markdown, table


def point(strategy, seed, number, map50, **more):
    return Point("made", "c1", seed, strategy, number, 40 + 40 * number, map50, {"ring": map50}, **more)


@pytest.fixture
def points():
    """Two seeds, two rounds: chance rises by 0.1 a round, hybrid by 0.2."""
    found = []
    for seed in (1, 2):
        start = 0.1 * seed
        found.append(point("", seed, 0, start))
        found += [point("random", seed, number, start + 0.1 * number) for number in (1, 2)]
        found += [point("hybrid", seed, number, start + 0.2 * number, mined=50, mining_s=0.1) for number in (1, 2)]
    return found


def test_an_area_is_the_mean_height():
    assert area({0: 0.0, 10: 1.0}) == pytest.approx(0.5)
    assert area({0: 0.2, 10: 0.2, 40: 0.2}) == pytest.approx(0.2)
    # The wide piece counts more.
    assert area({0: 0.0, 10: 1.0, 40: 1.0}) == pytest.approx(0.875)
    with pytest.raises(ValueError, match="two points"):
        area({5: 0.3})


def test_an_interval_is_students():
    found = interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found.mean == pytest.approx(0.3)
    # The standard error is sqrt(0.025 / 5), t of 4 degrees 2.776.
    assert found.half == pytest.approx(2.776 * math.sqrt(0.025 / 5))
    assert (found.low, found.high) == pytest.approx((found.mean - found.half, found.mean + found.half))
    assert interval([0.2, 0.2, 0.2]).half == pytest.approx(0.0)
    assert interval([0.2]).half == math.inf
    assert interval([0.0, 1.0] * 20).half == pytest.approx(1.96 * np.std([0.0, 1.0] * 20, ddof=1) / math.sqrt(40))


def test_an_interval_holds_the_truth_95_times_in_100():
    chance = np.random.default_rng(0)
    drawn = [interval(chance.normal(0.5, 0.1, 5).tolist()) for _ in range(2000)]
    assert np.mean([one.low <= 0.5 <= one.high for one in drawn]) == pytest.approx(0.95, abs=0.015)


def test_labels_are_read_off_the_straight_line_between_points():
    curve = {40: 0.1, 80: 0.3, 120: 0.2, 160: 0.5}
    assert labels_for(curve, 0.2) == pytest.approx(60)
    assert labels_for(curve, 0.4) == pytest.approx(120 + 40 * 2 / 3)
    assert labels_for(curve, 0.05) == 40
    assert labels_for(curve, 0.51) is None


def test_a_mean_curve_has_the_labels_of_all():
    assert mean_curve([{1: 0.2, 2: 0.4}, {1: 0.4, 2: 0.6, 3: 1.0}]) == pytest.approx({1: 0.3, 2: 0.5})


def test_a_gain_is_taken_seed_by_seed():
    # The seeds differ much, the gain does not: an interval of unpaired differences would be wide.
    chance = {1: {40: 0.1, 80: 0.2}, 2: {40: 0.5, 80: 0.6}, 3: {40: 0.3, 80: 0.4}}
    better = {seed: {40: curve[40], 80: curve[80] + 0.1} for seed, curve in chance.items()}
    found = standing("x", better, chance=chance, processor_ms=1.0)
    assert found.gain.mean == pytest.approx(0.05)
    assert found.gain.half == pytest.approx(0.0, abs=1e-9)
    assert found.area.half > 0.3
    assert found.labels == pytest.approx(60)
    assert found.share == pytest.approx(0.75)
    worse = standing("y", {1: chance[1], 2: {40: 0.5, 80: 0.5}}, chance=chance, processor_ms=1.0)
    assert worse.labels is None
    assert worse.share is None
    assert worse.gain.mean < 0


def test_the_best_stands_first_and_what_is_not_whole_does_not_count(points):
    hybrid, chance = standings(points, rounds=2)
    assert (hybrid.strategy, chance.strategy) == ("hybrid", "random")
    assert hybrid.processor_ms == pytest.approx(2.0)
    assert hybrid.labels == pytest.approx(80)
    assert hybrid.gain.mean == pytest.approx(0.1)
    assert chance.gain.half == 0.0
    started = [*points, point("entropy", 1, 1, 0.5)]
    assert set(curves_of(started, rounds=2)) == {"random", "hybrid"}
    assert standings([one for one in points if one.strategy != "random"], rounds=2) == []


def test_points_outlive_a_kill(tmp_path, points):
    log = Points(tmp_path)
    for one in points:
        log.add(one)
    with (tmp_path / "points.jsonl").open("a") as file:
        file.write(json.dumps({"set_name": "made"}) + "\n" + '{"set_name": "made", "se')
    again = Points(tmp_path)
    assert sorted(one.place for one in again.of("made", "c1", seeds=(1, 2))) == sorted(one.place for one in points)
    assert again.find("made", "c1", 2, "hybrid", 2).map50 == pytest.approx(0.6)
    assert again.find("made", "c2", 2, "hybrid", 2) is None
    assert {one.seed for one in again.of("made", "c1", seeds=(2, 3))} == {2}


def test_tables_say_the_same_to_people_and_pages(points):
    found = standings(points, rounds=2)
    said = table(found, labels=120).splitlines()
    assert said[1].split()[:4] == ["hybrid", "0.350", "±", "0.635"]
    assert "80 (67%)" in said[1]
    page = markdown(found, labels=120).splitlines()
    assert [cell.strip() for cell in page[2].split("|")][1:3] == ["hybrid", "0.350 ± 0.635"]
    assert len({line.count("|") for line in page}) == 1


def test_charts_are_drawn(tmp_path, points):
    found = standings(points, rounds=2)
    draw_curves(tmp_path / "curves.png", curves_of(points, rounds=2), found, title="Made", default="hybrid")
    draw_gains(tmp_path / "gains.png", found, title="Made", default="hybrid")
    for name in ("curves.png", "gains.png"):
        image = cv2.imread(str(tmp_path / name))
        assert image.min() < 100 < image.max() == 255
        assert (tmp_path / name).stat().st_size < 100_000
