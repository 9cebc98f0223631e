import os
import signal

import pytest
from lodeworks_executor import BadDatasetError, StopRequestedError, run_program
from lodeworks_formats.protocol import Environment, render_environment
from lodeworks_formats.ymir_results import parse_monitor


@pytest.fixture
def env_file(tmp_path):
    environment = Environment.at(
        "t1", operations={"infer"}, input_root=str(tmp_path), output_root=str(tmp_path / "out")
    )
    path = tmp_path / "env.yaml"
    path.write_text(render_environment(environment))
    (tmp_path / "config.yaml").write_text("class_names: [cat]\n")
    return path


def _monitor(env_file):
    return parse_monitor((env_file.parent / "out/monitor.txt").read_text())


def test_done_is_zero(env_file):
    assert run_program(lambda task: None, env_file=env_file) == 0
    assert (_monitor(env_file).state, _monitor(env_file).fraction) == (2, 1.0)


def test_the_last_word_of_a_program_stays(env_file):
    assert run_program(lambda task: task.progress(1.0, "done"), env_file=env_file) == 0
    assert _monitor(env_file).message == "done"
    assert run_program(lambda task: task.fail(None, "no use"), env_file=env_file) == 0
    assert (_monitor(env_file).state, _monitor(env_file).message) == (4, "no use")


def test_a_program_that_tells_nothing_has_begun(env_file):
    seen = []
    assert run_program(lambda task: seen.append(_monitor(env_file)), env_file=env_file) == 0
    assert [(told.state, told.fraction) for told in seen] == [(2, 0.0)]


def test_a_refusal_becomes_the_code_of_the_monitor(env_file, capsys):
    def program(task):
        raise BadDatasetError("no pictures")

    assert run_program(program, env_file=env_file) == 1
    assert (_monitor(env_file).state, _monitor(env_file).code) == (4, 300002)
    assert "error: no pictures" in capsys.readouterr().err


def test_a_fault_is_told_with_its_traceback(env_file, capsys):
    def program(task):
        raise ValueError("odd")

    assert run_program(program, env_file=env_file) == 1
    assert "Traceback" in capsys.readouterr().err
    assert (_monitor(env_file).code, _monitor(env_file).message) == (None, "ValueError: odd")


def test_sigterm_stops_the_program_and_keeps_what_is_written(env_file):
    before = signal.getsignal(signal.SIGTERM)

    def program(task):
        task.progress(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal must have raised")

    assert run_program(program, env_file=env_file) == 143
    assert (_monitor(env_file).state, _monitor(env_file).fraction) == (2, 0.5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_program_may_tidy_up_when_stopped(env_file):
    seen = []

    def program(task):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except StopRequestedError:
            seen.append("tidied")
            raise

    assert run_program(program, env_file=env_file) == 143
    assert seen == ["tidied"]


def test_settings_that_cannot_be_read_are_told_with_their_code(env_file, capsys):
    (env_file.parent / "config.yaml").write_text("[:")
    assert run_program(lambda task: None, env_file=env_file) == 1
    assert "error: cannot read" in capsys.readouterr().err
    assert (_monitor(env_file).state, _monitor(env_file).code) == (4, 300001)
    assert "config.yaml" in _monitor(env_file).message


def test_a_run_that_cannot_be_loaded_fails(tmp_path, capsys):
    assert run_program(lambda task: None, env_file=tmp_path / "env.yaml") == 1
    assert "cannot read" in capsys.readouterr().err
