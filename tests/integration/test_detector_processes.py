"""Several processes that train one network: they learn what one would, and a lost one ends the run with its reason."""

import os
import signal
from pathlib import Path

import pytest
from lodeworks_executor import Task
from lodeworks_formats.ymir_results import parse_monitor
from small_trainings import lay_out, start, wait_for, write_pictures

pytest.importorskip("torch", reason="the detector needs the extra `detector`")

import torch
from learning_together import learn
from lodeworks_detector.crew import Crew


@pytest.fixture
def run_at(tmp_path):
    """Lays out a training of a few pictures and returns its env.yaml."""

    def make(name, **settings):
        lines = write_pictures(tmp_path, count=20)
        return lay_out(tmp_path / name, training=lines[:16], validation=lines[16:], **settings)

    return make


def test_two_processes_learn_what_one_learns(run_at, tmp_path):
    task = Task.load(run_at("together"))
    learn(task, 0, 1, Path())
    with Crew(task, learn, count=2) as crew:
        learn(task, 0, 2, crew.meeting)
    alone, first, second = (
        torch.load(tmp_path / "together/out" / name) for name in ("0_of_1.pt", "0_of_2.pt", "1_of_2.pt")
    )
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert alone["losses"][1] != pytest.approx(alone["losses"][0], rel=1e-2)
    for name, weights in first["weights"].items():
        assert torch.equal(weights, second["weights"][name]), name


def test_a_lost_process_ends_the_run_with_its_reason(run_at):
    env_file = run_at("lost", epochs=1000, processes=2)
    out = env_file.parents[1] / "out"
    process = start(env_file)
    try:
        wait_for(out / "models/result.yaml", process)
        os.kill(_second(process.pid), signal.SIGKILL)
        log, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1, log
    monitor = parse_monitor((out / "monitor.txt").read_text())
    assert monitor.state == 4
    assert "process 2 of 2 was ended by signal 9" in monitor.message
    # Only the first process told anything.
    assert log.count("training on 16 pictures") == 1
    assert log.count("epoch 1/1000") == 1


def _second(first: int) -> int:
    """Returns the process that the first one started to train with it; the other one that it has tracks resources."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == first and b"spawn_main" in words:
            return int(entry.name)
    raise AssertionError("there is no second process")
