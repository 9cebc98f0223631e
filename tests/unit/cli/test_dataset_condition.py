"""Options that choose pictures and parts: what is said is asked for, and what cannot be meant is refused."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from lodeworks.api.dataset.v1.dataset_pb2 import PredictionFilter
from lodeworks.cli.dataset_condition import prediction_condition
from lodeworks.cli.main import lode
from lodeworks.cli.output import Output
from lodeworks.cli.session import Session
from lodeworks.profile import Surroundings

NOTHING: dict[str, Any] = {
    "predictions": "",
    "outcomes": (),
    "predicted": (),
    "min_score": None,
    "max_score": None,
    "iou": None,
}


def test_a_prediction_set_alone_asks_for_the_pictures_that_it_says_something_of() -> None:
    assert prediction_condition(**NOTHING) is None
    assert prediction_condition(**NOTHING | {"predictions": "old"}) == PredictionFilter(prediction_set="old")


def test_an_overlap_without_an_outcome_is_refused() -> None:
    with pytest.raises(click.UsageError, match="--outcome"):
        prediction_condition(**NOTHING | {"predictions": "old", "iou": 0.75})


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    session = Session(Surroundings(config_folder=tmp_path, data_folder=tmp_path), Output(color=False))
    told = CliRunner().invoke(lode, ["dataset", "split", "labelled", "--to", "train=80,train=20"], obj=session)
    assert told.exit_code == 2
    assert "'train' twice" in told.output
