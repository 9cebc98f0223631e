import numpy as np
import pytest
from builtin_world import BuiltinWorld
from lodeworks_builtin.mine import best_first, run
from lodeworks_builtin.mining import find_strategy, strategy_names
from lodeworks_executor import BadSettingError
from lodeworks_executor.errors import BadModelError
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import read_scores
from lodeworks_formats.task_inputs import MineOptions
from lodeworks_runtime import decode_picture, load_onnx
from made_network import save_network


@pytest.fixture
def world(tmp_path):
    return BuiltinWorld(tmp_path)


def mined(world, **options):
    world.put("options", MineOptions(**options).to_bytes())
    run(world.task())
    return list(read_scores(world.output("scores")))


def test_random_needs_no_model_and_follows_the_seed(world):
    pictures = world.view("candidate", range(20))
    first = mined(world, strategy="random", seed=1)
    assert first == mined(world, strategy="random", seed=1)
    assert first != mined(world, strategy="random", seed=2)
    assert {digest for digest, _ in first} == {picture.digest for picture in pictures}
    assert all(0 <= score < 1 for _, score in first)


def test_the_lot_of_a_picture_does_not_depend_on_its_company(world):
    world.view("candidate", range(20))
    all_of_them = dict(mined(world, strategy="random", seed=1))
    world.view("candidate", range(5))
    assert dict(mined(world, strategy="random", seed=1)).items() <= all_of_them.items()


def test_top_k_keeps_the_best_and_may_be_larger_than_the_dataset(world):
    world.view("candidate", range(12))
    everything = mined(world, strategy="random")
    assert mined(world, strategy="random", top_k=4) == everything[:4]
    assert mined(world, strategy="random", top_k=400) == everything
    assert [score for _, score in everything] == sorted((score for _, score in everything), reverse=True)


def test_entropy_is_the_sum_over_the_kept_boxes(world):
    pictures = world.view("candidate", range(6))
    model = save_network(world.put("model/best/best.onnx", b""))
    scores = dict(mined(world, strategy="entropy", score_threshold=0.2))
    algorithm = load_onnx(model)
    for picture in pictures:
        data = (world.given / "assets" / asset_path(picture.upright_name)).read_bytes()
        image = decode_picture(data)
        found = algorithm.detect(image, score=0.2)
        rows = algorithm.outputs([image]).scores[0][sorted(set(found.places.tolist()))]
        p = rows.astype(float).clip(1e-9, 1 - 1e-9)
        wanted = float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum())
        assert scores[picture.digest] == pytest.approx(wanted, rel=1e-6)


def test_a_broken_picture_is_left_out(world, capsys):
    pictures = world.view("candidate", range(3))
    save_network(world.put("model/best/best.onnx", b""))
    (world.given / "assets" / asset_path(pictures[0].upright_name)).write_bytes(b"broken")
    scores = dict(mined(world, strategy="entropy"))
    assert set(scores) == {picture.digest for picture in pictures[1:]}
    assert pictures[0].upright_name in capsys.readouterr().err


def test_entropy_without_a_model_is_refused(world):
    world.view("candidate", range(2))
    with pytest.raises(BadModelError):
        mined(world, strategy="entropy")


def test_an_unknown_strategy_is_refused_with_what_there_is(world):
    world.view("candidate", range(2))
    with pytest.raises(BadSettingError, match="aldd, cald, entropy, hybrid"):
        mined(world, strategy="psychic")
    assert find_strategy("random").model == "none"
    assert {find_strategy(name).name for name in strategy_names()} == set(strategy_names())


def test_ties_are_broken_by_digest():
    pairs = [("c", 1.0), ("a", 1.0), ("b", 2.0)]
    assert best_first(pairs, top_k=None) == [("b", 2.0), ("a", 1.0), ("c", 1.0)]
    assert best_first(pairs, top_k=2) == [("b", 2.0), ("a", 1.0)]
