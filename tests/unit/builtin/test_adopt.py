"""Models from elsewhere: what is taken in, what is asked for, what is refused."""

import json
import tarfile

import numpy as np
import onnx
import pytest
from builtin_world import BuiltinWorld
from foreign_networks import CLASSES, INFO, SIZE, model_info, save_foreign
from lodeworks_builtin.adopt import run
from lodeworks_executor.errors import BadModelError, BadSettingError
from lodeworks_formats.task_inputs import AdoptOptions
from lodeworks_formats.ymir_package import YmirPackage, write_ymir_package
from lodeworks_formats.ymir_results import StageResult, TrainingResult
from lodeworks_runtime import load_onnx
from made_network import CLASSES as OWN_CLASSES
from made_network import save_network


@pytest.fixture
def world(tmp_path):
    return BuiltinWorld(tmp_path)


def adopted(world, **options):
    world.put("options", AdoptOptions(**options).to_bytes())
    run(world.task())
    return json.loads(world.output("result").read_bytes())


@pytest.mark.parametrize("family", sorted(INFO))
def test_a_network_of_a_family_needs_its_decoder_and_classes_only(world, family):
    save_foreign(world.put("model/net.onnx", b""), family=family)
    told = adopted(
        world, decoder=family, class_names=CLASSES, score_threshold=0.3, nms_iou=model_info(family)["nms_iou"]
    )
    assert told["class_names"] == list(CLASSES)
    assert told["best_stage_name"] == "imported"
    made = load_onnx(world.output("stage/imported/model.onnx"))
    image = np.full((120, 640, 3), 90, np.uint8)
    described = save_foreign(world.given / "described.onnx", family=family, info=model_info(family))
    assert made.predict([image]) == load_onnx(described).predict([image])
    assert (made.recipe.height, made.recipe.width) == SIZE


def test_a_file_that_describes_itself_needs_nothing_and_stays_as_it_is(world):
    path = save_network(world.put("model/net.onnx", b""))
    assert adopted(world)["class_names"] == list(OWN_CLASSES)
    assert world.output("stage/imported/model.onnx").read_bytes() == path.read_bytes()


def test_options_go_before_the_file_and_the_file_before_its_family(world):
    info = model_info("yolov8", nms_iou=0.6, score_threshold=0.4)
    save_foreign(world.put("model/net.onnx", b""), family="yolov8", info=info)
    adopted(world, score_threshold=0.2, fit="stretch", pad=7)
    recipe = load_onnx(world.output("stage/imported/model.onnx")).recipe
    assert (recipe.thresholds.score, recipe.thresholds.nms_iou) == (0.2, 0.6)
    assert (recipe.fit, recipe.pad, recipe.decoder) == ("stretch", 7, "yolov8")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"class_names": CLASSES}, BadSettingError, "decoder.*is missing.*yolov8"),
        ({"decoder": "yolov8"}, BadSettingError, "class_names"),
        ({"decoder": "yolov8", "class_names": ("ant",)}, BadModelError, "wants 5 values a place for 1 classes"),
        ({"decoder": "yolov99", "class_names": CLASSES}, BadModelError, "is not known: there are"),
        ({"decoder": "yolov5", "class_names": CLASSES}, BadModelError, "wants 8 values a place"),
        ({"decoder": "yolov8", "class_names": CLASSES, "input_size": "big"}, BadSettingError, "HEIGHTxWIDTH"),
        ({"decoder": "yolov8", "class_names": CLASSES, "input_size": "64x64"}, BadModelError, "refuses an input"),
        ({"decoder": "yolov8", "class_names": CLASSES, "fit": "crop"}, BadModelError, "there are centre, top-left"),
    ],
)
def test_what_is_missing_or_wrong_is_said(world, options, error, words):
    save_foreign(world.put("model/net.onnx", b""), family="yolov8")
    with pytest.raises(error, match=words):
        adopted(world, **options)


def test_scores_that_are_no_probabilities_give_the_wrong_decoder_away(world):
    path = save_foreign(world.put("model/net.onnx", b""), family="yolov8")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "output0_made":
            values = onnx.numpy_helper.to_array(tensor) * 10
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    with pytest.raises(BadModelError, match="outside 0 to 1: is it the right one"):
        adopted(world, decoder="yolov8", class_names=CLASSES)


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x07garbage"])
def test_what_is_no_network_is_refused(world, data):
    world.put("model/net.onnx", data)
    with pytest.raises(BadModelError):
        adopted(world, decoder="yolov8", class_names=CLASSES)


def test_a_model_package_keeps_its_stages_and_describes_their_networks(world, tmp_path):
    stages = tuple(StageResult(name, name, ("best.onnx", "best.pt"), scores={"mAP": 0.5}) for name in ("first", "last"))
    folder = tmp_path / "packed"
    for stage in stages:
        (folder / stage.name).mkdir(parents=True)
        save_foreign(folder / stage.name / "best.onnx", family="yolov5")
        (folder / stage.name / "best.pt").write_bytes(b"a pickle that nobody opens")
    package = YmirPackage({"class_names": list(CLASSES)}, TrainingResult("last", stages))
    write_ymir_package(world.put("model/model.tar", b""), package, folder)
    told = adopted(world, decoder="yolov5")
    assert (told["best_stage_name"], [stage["name"] for stage in told["stages"]]) == ("last", ["first", "last"])
    assert told["stages"][0]["scores"] == {"mAP": 0.5}
    assert load_onnx(world.output("stage/last/best.onnx")).classes == CLASSES
    assert world.output("stage/first/best.pt").read_bytes() == b"a pickle that nobody opens"


def test_a_package_without_a_decoder_is_kept_as_it_is(world, tmp_path):
    folder = tmp_path / "packed"
    (folder / "only").mkdir(parents=True)
    original = save_foreign(folder / "only/best.onnx", family="yolov5").read_bytes()
    package = YmirPackage(
        {"class_names": list(CLASSES)}, TrainingResult("only", (StageResult("only", "only", ("best.onnx",)),))
    )
    write_ymir_package(world.put("model/model.tar", b""), package, folder)
    assert adopted(world)["class_names"] == list(CLASSES)
    assert world.output("stage/only/best.onnx").read_bytes() == original


def test_a_tar_that_is_no_package_is_refused(world):
    path = world.put("model/model.tar", b"")
    with tarfile.open(path, "w"):
        pass
    with pytest.raises(BadModelError, match="neither an ONNX file nor a model package"):
        adopted(world)


def _as_exported(path, *, family, names, **told):
    """Writes a network with what Ultralytics' exporter writes beside it."""
    model = onnx.load(save_foreign(path, family=family))
    onnx.helper.set_model_props(model, {"names": names, **told})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("family", "names", "told"),
    [
        ("yolov8", "{0: 'ant', 1: 'bee', 2: 'cat'}", {"task": "detect", "end2end": "False"}),
        ("yolov5", "['ant', 'bee', 'cat']", {}),
        ("detections", "{0: 'ant', 1: 'bee', 2: 'cat'}", {"task": "detect", "end2end": "True"}),
    ],
)
def test_what_its_exporter_wrote_into_a_file_is_enough(world, family, names, told):
    _as_exported(world.put("model/net.onnx", b""), family=family, names=names, **told)
    assert adopted(world)["class_names"] == list(CLASSES)
    assert load_onnx(world.output("stage/imported/model.onnx")).recipe.decoder == family


def test_options_go_before_what_the_exporter_wrote(world):
    _as_exported(world.put("model/net.onnx", b""), family="yolov8", names="{0: 'a', 1: 'b', 2: 'c'}")
    assert adopted(world, class_names=CLASSES)["class_names"] == list(CLASSES)


def test_a_network_of_another_task_is_refused(world):
    _as_exported(world.put("model/net.onnx", b""), family="yolov8", names="{0: 'a'}", task="segment")
    with pytest.raises(BadModelError, match="task 'segment'; export one for 'detect'"):
        adopted(world)


@pytest.mark.parametrize("names", ["", "{0: 'a'", "{1: 'a', 2: 'b'}", "7", "__import__('os')"])
def test_names_that_are_none_tell_nothing(world, names):
    _as_exported(world.put("model/net.onnx", b""), family="yolov8", names=names)
    with pytest.raises(BadSettingError, match="decoder"):
        adopted(world)
