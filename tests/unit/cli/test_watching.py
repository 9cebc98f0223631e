"""What `lode task watch` and `lode task show` say: curves, time left, why a task died."""

import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lodeworks.api.task.v1 import task_pb2 as pb
from lodeworks.blocking.task import TaskEvent
from lodeworks.cli.chart import chart, columns, sparkline
from lodeworks.cli.output import Output
from lodeworks.cli.session import Session
from lodeworks.cli.task_options import SECONDS, asked
from lodeworks.cli.task_view import print_task
from lodeworks.cli.watching import TimeLeft, Watch, clock
from lodeworks.profile import Surroundings


def session(style: str = "table") -> Session:
    return Session(Surroundings.read(), Output(style=style))


def running(share: float, *, attempt: int = 1, **more: object) -> pb.Task:
    task = pb.Task(title="train cells@1", state=pb.TASK_STATE_RUNNING, progress=share, attempt=attempt, **more)
    task.start_time.FromSeconds(1_000)
    return task


def event(task: pb.Task, **metrics: float) -> TaskEvent:
    points = tuple(pb.MetricPoint(step=1, name=name.replace("__", "/"), value=value) for name, value in metrics.items())
    return TaskEvent(task, b"", points)


@given(st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), max_size=300), st.integers(1, 64))
def test_a_chart_keeps_its_size_and_names_its_range(values: list[float], width: int) -> None:
    lines = chart(values, width=width, height=4)
    assert len(columns(values, width)) <= width
    if not values:
        assert lines == []
        return
    assert len(lines) == 4
    assert all(len(line) <= width + 12 for line in lines)
    assert len(sparkline(values, width=width)) == min(len(values), width)


def test_a_rising_curve_rises() -> None:
    lines = chart([0.0, 1.0, 2.0, 3.0], width=4, height=2)
    assert lines == ["         3 ┤  ▃█", "         0 ┤▁▆██"]
    assert sparkline([0.0, float("nan"), 1.0]) == "▁█"


def test_time_left_follows_how_progress_moved_of_late() -> None:
    left = TimeLeft()
    assert left.tell(1_000, -1.0, started_s=900) is None
    assert left.tell(1_000, 0.5, started_s=900) == pytest.approx(100)
    assert left.tell(1_010, 0.6, started_s=900) == pytest.approx(40)
    assert left.tell(1_020, 0.6, started_s=900) == pytest.approx(30)
    assert left.tell(1_030, 0.1, started_s=1_029) == pytest.approx(9)
    assert left.tell(1_040, 1.0, started_s=1_029) is None


def test_off_a_terminal_each_line_says_something_new(capsys: pytest.CaptureFixture[str]) -> None:
    now = [1_010.0]
    watch = Watch(now_s=lambda: now[0], live=False)
    watch.show(event(running(0.5), train__loss=2.0))
    watch.show(event(running(0.5)))
    now[0] += 10
    watch.show(event(running(0.75), train__loss=1.0, val__mAP50=0.25, other=1.0, unsaid=1.0))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train cells@1  running  50%  ETA 0:10  train/loss=2",
        "train cells@1  running  75%  ETA 0:10  val/mAP50=0.25  train/loss=1  other=1",
    ]


def test_on_a_terminal_it_draws_over_what_was_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(now_s=lambda: 1_010.0, live=True)
    watch.show(event(running(0.5), loss=2.0))
    watch.show(event(running(0.5, attempt=2), loss=1.0))
    drawn = capsys.readouterr().err
    first, second = drawn.split("\x1b[J")[1:]
    assert "██████████··········" in first
    assert re.search(r"\x1b\[\d+A$", first)
    assert "attempt 2" in second


def test_a_time_is_read_with_its_unit() -> None:
    assert [SECONDS.convert(text, None, None) for text in ("90", "90s", "1.5m", "2h", "1d")] == [
        90,
        90,
        90,
        7_200,
        86_400,
    ]
    with pytest.raises(click.BadParameter, match="no time"):
        SECONDS.convert("soon", None, None)
    assert (clock(7), clock(3_725)) == ("0:07", "1:02:05")


def test_what_is_asked_becomes_options() -> None:
    one = session()
    assert asked(one) is None
    one.asked.update(priority=3, labels=("a=b", "!c"), timeout=60.0, after=(("t1", "t2"),), reuse=True)
    options = asked(one)
    assert options is not None
    assert (options.priority, options.labels, options.run_timeout_s) == (3, "a=b,!c", 60.0)
    assert (options.after, options.reuse) == (("t1", "t2"), True)


def test_a_dead_task_says_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    task = pb.Task(
        id="t1",
        title="train cells@1",
        state=pb.TASK_STATE_FAILED,
        reason=pb.FAILURE_REASON_OOM,
        error="memory ran out",
        exit_code=137,
        signal=9,
        next_step="make it smaller",
        attempt=2,
        log_tail=["epoch 1", "Killed"],
        attempts=[
            pb.Attempt(number=1, worker_name="a", outcome=pb.ATTEMPT_OUTCOME_LOST, reason=pb.FAILURE_REASON_LOST),
            pb.Attempt(number=2, worker_name="b", outcome=pb.ATTEMPT_OUTCOME_FAILED, reason=pb.FAILURE_REASON_OOM),
        ],
    )
    print_task(session(), task, attempts=True)
    said = capsys.readouterr().out
    assert "OOM: memory ran out (exit code 137, signal 9 SIGKILL, out of memory)" in said
    assert "next      make it smaller" in said
    assert re.search(r"^1 +a +lost", said, re.MULTILINE)
    assert "  | Killed" in said


def test_json_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    print_task(session("json"), pb.Task(id="t1", reused=True))
    assert '"reused": true' in capsys.readouterr().out
