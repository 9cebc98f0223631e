from importlib.resources import files

import pytest
import yaml
from lodeworks_detector.augment import Augmentation
from lodeworks_detector.configuration import read_configuration
from lodeworks_executor import BadSettingError, Settings


def _read(**settings):
    return read_configuration(Settings(settings))


def test_nothing_need_be_set():
    configuration = _read(task_id="t", class_names=["a"], gpu_id="")
    assert configuration.epochs is None
    assert configuration.input_size is None
    assert configuration.batch_size == 8


def test_the_template_is_what_nothing_set_means():
    template = yaml.safe_load((files("lodeworks_detector") / "img-man/training-template.yaml").read_text())
    assert read_configuration(Settings(template)) == _read()


@pytest.mark.parametrize(("pictures", "epochs"), [(1, 150), (60, 115), (234, 30), (292, 24), (5000, 12)])
def test_epochs_follow_the_number_of_pictures(pictures, epochs):
    assert _read().epochs_for(pictures) == epochs
    assert _read(epochs=3).epochs_for(pictures) == 3


@pytest.mark.parametrize(
    ("text", "size"), [("auto", None), (320, (320, 320)), ("256x320", (256, 320)), ("256×320", (256, 320))]
)
def test_input_sizes(text, size):
    assert _read(input_size=text).input_size == size


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("epochs", "many"),
        ("batch_size", -1),
        ("learning_rate", 5),
        ("input_size", "100"),
        ("input_size", "1x2x3"),
        ("precision", "int8"),
        ("augment", "wild"),
        ("seed", -1),
        ("epoch", 3),
        ("mosaic", 1.5),
        ("processes", 0),
    ],
)
def test_a_wrong_setting_is_named(key, value):
    with pytest.raises(BadSettingError) as caught:
        _read(**{key: value})
    assert caught.value.key == key


def test_augmentation_can_be_turned_down():
    assert _read().augmentation == Augmentation()
    assert _read(augment="upright").augmentation.flip_y == 0.0
    assert _read(augment="none").augmentation.scale == (1.0, 1.0)
    assert _read(mosaic=0.5).augmentation == Augmentation(mosaic=0.5)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 2), (64, 8)])
def test_threads_follow_the_cores(cores, threads):
    assert _read().threads_for(cores) == threads
    assert _read(threads=3).threads_for(cores) == 3


@pytest.mark.parametrize(
    ("gpus", "settings", "processes"),
    [
        (0, {}, 1),
        (1, {}, 1),
        (4, {}, 4),
        (8, {}, 4),
        (8, {"batch_size": 64}, 8),
        (4, {"processes": 2}, 2),
        (0, {"processes": 2}, 2),
    ],
)
def test_processes_follow_the_gpus_and_the_batch(gpus, settings, processes):
    assert _read(**settings).processes_for(gpus=gpus, pictures=100) == processes


def test_a_process_has_a_gpu_of_its_own():
    with pytest.raises(BadSettingError, match="each process needs its own"):
        _read(processes=3).processes_for(gpus=2, pictures=100)


def test_patience_is_never_short_by_itself():
    assert _read().patience_for(26) == 15
    assert _read(patience=2).patience_for(26) == 2
