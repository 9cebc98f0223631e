import pytest
from builtin_world import BuiltinWorld
from lodeworks_builtin.infer import run
from lodeworks_executor import BadSettingError
from lodeworks_executor.errors import BadDatasetError, BadModelError
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import pictures_metadata, read_pictures
from lodeworks_formats.task_inputs import InferOptions
from lodeworks_runtime import load_onnx
from made_network import CLASSES, save_network


@pytest.fixture
def world(tmp_path):
    made = BuiltinWorld(tmp_path)
    save_network(made.put("model/best/best.onnx", b""))
    return made


def predicted(world):
    return {picture.digest: picture for picture in read_pictures(world.output("predictions"))}


@pytest.mark.parametrize("threads", [1, 3])
def test_every_picture_gets_the_boxes_that_the_runtime_gives(world, threads):
    pictures = world.view("candidate", range(9))
    world.put("options", InferOptions(score_threshold=0.4, threads=threads).to_bytes())
    run(world.task())
    answers = predicted(world)
    assert list(answers) == [picture.digest for picture in pictures]
    algorithm = load_onnx(world.given / "lode" / "model" / "best" / "best.onnx")
    for picture in pictures:
        data = (world.given / "assets" / asset_path(picture.upright_name)).read_bytes()
        wanted = algorithm.predict_bytes(data, score=0.4)
        found = answers[picture.digest].predictions
        assert [box.class_name for box in found] == [box.class_name for box in wanted]
        assert [box.x for box in found] == pytest.approx([box.x for box in wanted], abs=1e-4)
        assert [box.score for box in found] == pytest.approx([box.score for box in wanted], abs=1e-6)
        assert answers[picture.digest].boxes is None
    metadata = pictures_metadata(world.output("predictions"))
    assert (metadata.kind, metadata.class_names) == ("predictions", CLASSES)


def test_a_picture_that_cannot_be_read_is_left_without_prediction(world, capsys):
    pictures = world.view("candidate", range(3))
    (world.given / "assets" / asset_path(pictures[1].upright_name)).write_bytes(b"broken")
    run(world.task())
    answers = predicted(world)
    assert answers[pictures[1].digest].predictions is None
    assert answers[pictures[0].digest].predictions
    assert pictures[1].upright_name in capsys.readouterr().err


def test_no_readable_picture_at_all_is_an_error(world):
    pictures = world.view("candidate", range(2))
    for picture in pictures:
        (world.given / "assets" / asset_path(picture.upright_name)).unlink()
    with pytest.raises(BadDatasetError, match="none of the 2 pictures"):
        run(world.task())


def test_a_view_without_pictures_is_predicted_as_such(world):
    world.view("candidate", [])
    run(world.task())
    assert predicted(world) == {}


def test_a_model_without_onnx_says_what_it_has(world):
    world.view("candidate", [1])
    (world.given / "lode" / "model" / "best" / "best.onnx").rename(world.given / "lode" / "model" / "best" / "best.pt")
    with pytest.raises(BadModelError, match=r"best\.pt"):
        run(world.task())


def test_several_onnx_files_need_a_best_one(world):
    world.view("candidate", [1])
    folder = world.given / "lode" / "model" / "best"
    save_network(folder / "last.onnx")
    run(world.task())
    (folder / "best.onnx").rename(folder / "first.onnx")
    with pytest.raises(BadModelError, match=r"first\.onnx, last\.onnx"):
        run(world.task())


@pytest.mark.parametrize("options", [b'{"score_threshold": 2}', b'{"threads": -1}', b'{"colour": 1}'])
def test_wrong_options_are_refused(world, options):
    world.view("candidate", [1])
    world.put("options", options)
    with pytest.raises(BadSettingError):
        run(world.task())
