"""What each mining strategy promises, on numbers that are known and on a network that is made."""

import numpy as np
import pytest
from builtin_world import BuiltinWorld
from hypothesis import given, settings
from hypothesis import strategies as st
from lodeworks_builtin import mine
from lodeworks_builtin.mining import aldd, cald, diversity, strategy_names
from lodeworks_builtin.mining.descriptor import description
from lodeworks_builtin.mining.hybrid import weighted_doubt
from lodeworks_builtin.mining.selection import farthest_first, typical
from lodeworks_builtin.mining.uncertainty import entropy_bits, least_confidence, margin
from lodeworks_executor.errors import BadModelError, BadSettingError
from lodeworks_formats.segments import read_scores
from lodeworks_formats.task_inputs import MineOptions
from lodeworks_runtime import load_onnx
from made_network import made_picture, model_info, save_network


@pytest.fixture
def world(tmp_path):
    return BuiltinWorld(tmp_path)


@pytest.fixture(scope="module")
def algorithm(tmp_path_factory):
    return load_onnx(save_network(tmp_path_factory.mktemp("network") / "made.onnx"))


def mined(world, **options):
    world.put("options", MineOptions(**options).to_bytes())
    mine.run(world.task())
    return list(read_scores(world.output("scores")))


@pytest.mark.parametrize("name", sorted(set(strategy_names()) - {"random"}))
def test_every_strategy_is_repeatable_and_judges_every_picture(world, name):
    pictures = world.view("candidate", range(10))
    save_network(world.put("model/best/best.onnx", b""))
    first = mined(world, strategy=name, seed=3)
    assert first == mined(world, strategy=name, seed=3)
    assert {digest for digest, _ in first} == {picture.digest for picture in pictures}
    assert len({score for _, score in first}) > 1
    chosen = mined(world, strategy=name, seed=3, top_k=3)
    assert len(chosen) == 3


@pytest.mark.parametrize("name", ["kcenter", "typiclust"])
def test_diversity_works_without_a_model_and_says_what_it_compares(world, name, capsys):
    world.view("candidate", range(8))
    assert len(mined(world, strategy=name, top_k=4)) == 4
    assert "compared by colour and edges" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hybrid", "margin", "cald"])
def test_doubt_needs_a_model(world, name):
    world.view("candidate", range(2))
    with pytest.raises(BadModelError):
        mined(world, strategy=name)


def test_a_drawn_part_is_considered_of_more_pictures_than_fit(world, monkeypatch, capsys):
    monkeypatch.setattr(diversity, "SAMPLE", 5)
    world.view("candidate", range(12))
    assert len(mined(world, strategy="kcenter", top_k=3)) == 3
    assert "considered 5 drawn pictures of 12" in capsys.readouterr().err


def test_a_known_class_counts_less(world):
    world.view("candidate", range(4))
    save_network(world.put("model/best/best.onnx", b""))
    unknown = mined(world, strategy="hybrid")
    known = mined(world, strategy="hybrid", class_names=("red", "green", "blue"), class_ap=(1.0, 1.0, 1.0))
    assert [digest for digest, _ in unknown] == [digest for digest, _ in known]
    scores = np.array([[0.5, 0.1], [0.1, 0.5]])
    even = weighted_doubt(scores, np.array([1.0, 1.0]))
    assert weighted_doubt(scores, np.array([1.0, 0.1])) == pytest.approx(even * 0.55)
    assert weighted_doubt(np.empty((0, 2)), np.ones(2)) == 0.0
    with pytest.raises(BadSettingError, match="one number for each of 1 classes"):
        mined(world, strategy="hybrid", class_names=("red",))


# --- uncertainty ---


def test_entropy_in_bits():
    assert entropy_bits(np.array([[0.5, 0.5]], np.float32)).sum() == pytest.approx(2.0)
    assert entropy_bits(np.array([[0.0, 1.0]], np.float32)).sum() == pytest.approx(0.0, abs=1e-5)


def test_confidence_and_margin_follow_their_formulas(algorithm):
    image, _ = made_picture(4, count=4)
    found = algorithm.detect(image, score=0.1)
    rows = algorithm.outputs([image]).scores[0][sorted(set(found.places.tolist()))].tolist()
    assert len(rows) > 3
    assert least_confidence(algorithm, image, 0.1) == pytest.approx(sum(1 - max(row) for row in rows), abs=1e-5)
    pairs = [sorted(row)[-2:] for row in rows]
    assert margin(algorithm, image, 0.1) == pytest.approx(sum((1 - (b - a)) ** 2 for a, b in pairs), abs=1e-5)
    assert least_confidence(algorithm, image, 1.0) == 0.0
    assert margin(algorithm, image, 1.0) == 0.0


# --- ALDD ---


def test_places_that_agree_do_not_diverge():
    assert aldd.divergence(np.full((6, 7, 3), 0.5)) == pytest.approx(0.0, abs=1e-9)
    mixed = np.zeros((6, 7, 1))
    mixed[3, 3] = 1.0
    found = aldd.divergence(mixed)[..., 0]
    assert found[3, 3] == pytest.approx(float(entropy_bits(np.array([1 / 9]))[0]), abs=1e-6)
    assert found[0, 0] == pytest.approx(0.0, abs=1e-6)


def test_a_network_without_cells_is_refused(world, tmp_path):
    world.view("candidate", range(2))
    save_network(world.put("model/best/best.onnx", b""), info=model_info(strides=[8, 16]))
    with pytest.raises(BadModelError, match=r"gives 192 places and names the strides \[8, 16\]"):
        mined(world, strategy="aldd")


# --- CALD ---


def test_every_change_carries_the_boxes_along():
    image = np.full((120, 160, 3), 30, np.uint8)
    image[40:80, 30:70] = (20, 20, 235)
    corners = np.array([[30, 40, 70, 80]], np.float32)
    for changed, (box,) in cald.changes(image, corners):
        red = np.argwhere(changed[..., 2] > 150)
        seen = np.array([red[:, 1].min(), red[:, 0].min(), red[:, 1].max() + 1, red[:, 0].max() + 1])
        assert seen == pytest.approx(box, abs=2.0)


def test_what_stays_the_same_teaches_less_than_what_changes(algorithm):
    sure, _ = made_picture(1)
    faint = np.clip((sure.astype(int) - 110) // 2 + 110, 0, 255).astype(np.uint8)
    measured = {name: cald.cald(algorithm, image, 0.1) for name, image in (("sure", sure), ("faint", faint))}
    assert all(-1.3 <= value <= 0 for value in measured.values())
    assert cald.cald(algorithm, np.full_like(sure, 114), 0.99) == -1.3


# --- sets ---


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), wanted=st.integers(1, 40))
def test_chosen_sets_hold_each_place_once(seed, count, wanted):
    rows = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    for chosen in (farthest_first(rows, wanted), typical(rows, wanted, seed=seed)):
        assert len(chosen) == len(set(chosen)) == min(count, wanted)
        assert set(chosen) <= set(range(count))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_greedy_k_centre_is_within_twice_the_best(seed):
    rows = np.random.default_rng(seed).normal(size=(12, 2)).astype(np.float32)

    def radius(centres):
        return max(min(np.linalg.norm(row - rows[centre]) for centre in centres) for row in rows)

    pairs = [(a, b) for a in range(12) for b in range(a)]
    assert radius(farthest_first(rows, 2)) <= 2 * min(radius(pair) for pair in pairs) + 1e-5


def test_typical_takes_the_middle_of_each_cluster_and_the_largest_first():
    random = np.random.default_rng(0)
    sizes = [(30, (0, 0)), (20, (10, 0)), (10, (0, 10))]
    rows = np.concatenate([random.normal(middle, 0.5, (size, 2)) for size, middle in sizes]).astype(np.float32)
    chosen = typical(rows, 3, seed=1)
    for place, (_, middle) in zip(chosen, sizes, strict=True):
        assert np.linalg.norm(rows[place] - middle) < 0.5
    assert farthest_first(np.empty((0, 3), np.float32), 2) == typical(np.empty((0, 3), np.float32), 2, seed=0) == []


def test_like_pictures_have_like_descriptions():
    image, _ = made_picture(2)
    same = np.clip(image.astype(int) + 3, 0, 255).astype(np.uint8)
    other = np.full_like(image, (10, 200, 60))
    assert description(image) @ description(same) > 0.95
    assert description(image) @ description(same) > description(image) @ description(other)
    assert np.linalg.norm(description(image)) == pytest.approx(1.0, abs=1e-5)
