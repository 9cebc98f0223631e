"""Settings are checked against the template before a task is made."""

from datetime import UTC, datetime

import pytest
from lodeworks_controller.adapters.installed_executors import shipped_executors
from lodeworks_controller.domain.executor import Executor, ExecutorKind, ExecutorOperation, SettingsCheck
from lodeworks_controller.errors import ConflictError, InvalidError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEMPLATE = {"epochs": 20, "lr": 0.1, "mosaic": True, "size": "auto", "steps": [1, 2], "export_format": "ark:raw"}
CHECK = SettingsCheck("detector", TEMPLATE, reserved=frozenset({"gpu_id", "export_format"}))


def test_what_is_set_stands_over_the_template_without_the_platforms_keys():
    assert CHECK.settings({"epochs": 3}) == {"epochs": 3, "lr": 0.1, "mosaic": True, "size": "auto", "steps": [1, 2]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epoch": 3}, "no setting 'epoch'; did you mean epochs?"),
        ({"zzz": 3}, "it has: epochs, lr, mosaic, size, steps"),
        ({"gpu_id": 0}, "made by the platform; leave it out. reserved are: export_format, gpu_id"),
        ({"epochs": "many"}, "'epochs' wants a whole number such as 20, not 'many'"),
        ({"epochs": 1.5}, "a whole number"),
        ({"epochs": True}, "a whole number"),
        ({"lr": "fast"}, "'lr' wants a number"),
        ({"mosaic": 1}, "true or false"),
        ({"steps": 3}, "a list"),
        ({"size": {}}, "a text"),
    ],
)
def test_a_wrong_setting_is_named(given, words):
    with pytest.raises(InvalidError) as raised:
        CHECK.settings(given)
    assert words in raised.value.message
    assert raised.value.metadata["key"] == next(iter(given))


@pytest.mark.parametrize("given", [{"epochs": 3.0}, {"lr": 1}, {"size": 320}, {"size": "256x320"}, {"steps": []}])
def test_values_that_mean_the_same_are_taken(given):
    assert CHECK.settings(given).items() >= given.items()


def test_how_an_executor_is_run_and_what_it_needs():
    image = Executor("e", "yolo", ExecutorKind.IMAGE, {ExecutorOperation.TRAIN: ""}, NOW, image="r@sha256:1")
    assert (image.run_name, image.requires) == ("image:r@sha256:1", "driver:docker")
    with pytest.raises(ConflictError, match="cannot mine; it can: train"):
        image.template(ExecutorOperation.MINE)


def test_the_platform_brings_a_trainer_a_miner_and_an_inferrer():
    shipped = {executor.name: executor for executor in shipped_executors(created_at=NOW)}
    assert shipped.keys() == {"detector", "mine", "infer"}
    assert "epochs:" in shipped["detector"].template(ExecutorOperation.TRAIN)
    assert shipped["detector"].requires == "executor:detector"
    assert "score_threshold:" in shipped["infer"].template(ExecutorOperation.INFER)
