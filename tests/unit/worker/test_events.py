"""Event files as TensorBoard's writers leave them, whole and torn."""

import struct
from pathlib import Path

import pytest
from lodeworks_worker.control_plane import Scope
from lodeworks_worker.harvest.events import event_files, read_events
from lodeworks_worker.journal import Offsets
from lodeworks_worker.metrics import pump_metrics, read_metrics
from tensorboardX import SummaryWriter


class Kept:
    """Keeps what it is sent."""

    def __init__(self):
        self.points = []

    async def append_metrics(self, _scope, *, offset, points):
        assert offset == len(self.points)
        self.points += points
        return len(self.points)


@pytest.fixture
def board(tmp_path):
    return tmp_path / "out" / "tensorboard"


def _written(folder: Path, values, *, tag="train/loss"):
    with SummaryWriter(str(folder)) as writer:
        for step, value in enumerate(values):
            writer.add_scalar(tag, value, step, walltime=1000.0 + step)
        writer.add_histogram("weights", [1.0, 2.0, 3.0], 0)
        writer.add_text("note", "hello", 0)


def test_scalars_of_a_writer_are_read_and_nothing_else(board):
    _written(board, [0.5, 0.25])
    (path,) = event_files(board)
    part = read_events(path, offset=0)
    assert [(one.step, one.name, one.value, one.measured_at) for one in part.points] == [
        (0, "train/loss", 0.5, 1000.0),
        (1, "train/loss", 0.25, 1001.0),
    ]
    assert part.next_offset == path.stat().st_size
    assert not part.torn


@pytest.mark.parametrize("cut", [1, 5, 13, 40])
def test_half_a_record_waits_for_its_other_half(board, cut):
    _written(board, [0.5, 0.25, 0.125])
    (path,) = event_files(board)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    first = read_events(path, offset=0)
    path.write_bytes(whole)
    second = read_events(path, offset=first.next_offset)
    assert [one.value for one in (*first.points, *second.points)] == [0.5, 0.25, 0.125]
    assert second.next_offset == len(whole)


def test_a_tensor_of_one_float_is_a_scalar(board):
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    tensor = bytes([1 << 3, 1]) + field(4, struct.pack("<f", 0.75))
    summary = field(1, field(1, b"val/mAP") + field(8, tensor))
    event = bytes([1 << 3 | 1]) + struct.pack("<d", 7.0) + bytes([2 << 3, 3]) + field(5, summary)
    board.mkdir(parents=True)
    path = board / "events.out.tfevents.v2"
    path.write_bytes(struct.pack("<QI", len(event), 0) + event + b"\0\0\0\0")
    (point,) = read_events(path, offset=0).points
    assert (point.step, point.name, point.value) == (3, "val/mAP", 0.75)


@pytest.mark.parametrize("rubbish", [b"\xff" * 64, struct.pack("<QI", 4, 0) + b"\x0a\x7f\x00\x00" + b"\0" * 4])
def test_rubbish_ends_the_reading(board, rubbish):
    board.mkdir(parents=True)
    path = board / "events.out.tfevents.bad"
    path.write_bytes(rubbish)
    assert read_events(path, offset=0).torn


def _record(event: bytes) -> bytes:
    return struct.pack("<QI", len(event), 0) + event + b"\0\0\0\0"


def test_what_came_before_a_torn_record_counts(board):
    _written(board, [0.5])
    (path,) = event_files(board)
    path.write_bytes(path.read_bytes() + _record(b"\x0a\x7f\x00\x00"))
    part = read_events(path, offset=0)
    assert ([one.value for one in part.points], part.torn) == ([0.5], True)


@pytest.mark.parametrize(
    ("head", "step"),
    [
        (b"\x10" + b"\xff" * 9 + b"\x01", -1),  # as writers write a negative step
        (b"\x10" + b"\xff" * 9 + b"\x7f", -1),  # of more bits than a number has
        (b"\x0d\0\0\0\0", 0),  # a time of four bytes
        (b"\x09" + struct.pack("<d", 1e300), None),  # a time that no message can hold
    ],
)
def test_a_strange_event_does_not_end_the_run(board, head, step):
    board.mkdir(parents=True)
    path = board / "events.out.tfevents.strange"
    value = b"\x0a\x01a\x15" + struct.pack("<f", 0.5)
    path.write_bytes(_record(head + b"\x2a" + bytes([len(value) + 2]) + b"\x0a" + bytes([len(value)]) + value))
    part = read_events(path, offset=0)
    assert [one.step for one in part.points] == ([] if step is None else [step])
    assert not part.torn


def test_lines_that_no_message_can_hold_are_passed_over(tmp_path):
    folder = tmp_path / "out" / "lode"
    folder.mkdir(parents=True)
    strange = [
        '{"step": 1e400, "name": "a", "value": 1}',
        '{"step": 99999999999999999999, "name": "a", "value": 1}',
        '{"step": 1, "name": "a", "value": 1, "time": 1e300}',
        '{"step": 1, "name": "\\ud800", "value": 1}',
    ]
    (folder / "metrics.jsonl").write_text("\n".join(strange) + "\n")
    assert [one.name for one in read_metrics(tmp_path, offset=0).points] == ["?"]


async def test_metrics_are_pumped_from_events_of_several_runs_once(tmp_path, board):
    _written(board, [1.0, 2.0])
    _written(board / "other", [3.0], tag="loss")
    kept, scope = Kept(), Scope("t", 1)
    offsets = await pump_metrics(kept, scope, folder=tmp_path, offsets=Offsets())
    assert {(one.name, one.value) for one in kept.points} == {
        ("train/loss", 1.0),
        ("train/loss", 2.0),
        ("other/loss", 3.0),
    }
    assert await pump_metrics(kept, scope, folder=tmp_path, offsets=offsets) == offsets
    assert len(kept.points) == 3


async def test_own_metrics_go_before_events(tmp_path, board):
    _written(board, [1.0])
    (tmp_path / "out" / "lode").mkdir()
    (tmp_path / "out" / "lode" / "metrics.jsonl").write_text('{"step": 1, "name": "a", "value": 2.0, "time": 3.0}\n')
    kept = Kept()
    await pump_metrics(kept, Scope("t", 1), folder=tmp_path, offsets=Offsets())
    assert [(one.name, one.value) for one in kept.points] == [("a", 2.0)]
