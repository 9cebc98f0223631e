"""What a run may do to the files in /out while the worker reads and writes them."""

import os

import pytest
from lodeworks_worker.control_plane import Scope
from lodeworks_worker.errors import OutputError
from lodeworks_worker.harvest.candidates import mining_outputs
from lodeworks_worker.harvest.harvest import read_monitor
from lodeworks_worker.harvest.plain_file import open_plain, open_plain_to_write
from lodeworks_worker.harvest.training import training_outputs
from lodeworks_worker.journal import Offsets
from lodeworks_worker.log_pump import LOG_FILE, LogPump
from lodeworks_worker.metrics import read_metrics
from lodeworks_worker.settle import last_lines


class Said:
    """A driver whose run says a few words, and a controller that takes them."""

    async def logs(self, _handle, *, offset):
        data = b"said by the run\n"[offset:]
        return type("Part", (), {"data": data, "next_offset": offset + len(data)})

    async def append_log(self, _scope, **_told):
        pass


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "run" / "out"
    folder.mkdir(parents=True)
    return folder


async def test_output_is_not_written_through_a_link(tmp_path, out):
    secret = tmp_path / "authorized_keys"
    secret.write_text("the owner's key\n")
    (out / LOG_FILE).symlink_to(secret)
    said = Said()
    pump = LogPump(Scope("t", 1), out.parent, said, Offsets())
    assert await pump.pump_out(said, None)
    assert secret.read_text() == "the owner's key\n"
    assert (out / LOG_FILE).read_text() == "said by the run\n"


@pytest.mark.parametrize("way", ["link", "folder link", "pipe"])
def test_nothing_is_read_through_a_link_and_nobody_waits_at_a_pipe(tmp_path, out, way):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = {
        "monitor.txt": "t\t1\t0.5\t2\n",
        LOG_FILE: "secret\n",
        "lode/metrics.jsonl": '{"step":1,"name":"a","value":1}\n',
    }
    if way == "folder link":
        (out / "lode").symlink_to(elsewhere)
    else:
        (out / "lode").mkdir()
    for name, text in told.items():
        target = elsewhere / name.rpartition("/")[2]
        target.write_text(text)
        if way == "pipe":
            os.mkfifo(out / name)
        elif not (out / name).exists():
            (out / name).symlink_to(target)
    assert read_monitor(out.parent) is None
    assert last_lines(out.parent) == []
    assert read_metrics(out.parent, offset=0).points == ()


def test_nothing_is_brought_home_from_behind_a_link(tmp_path, out):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "key.pem").write_text("secret")
    (out / "models").mkdir()
    (out / "models" / "best").symlink_to(elsewhere)
    result = out / "models" / "result.yaml"
    result.write_text("model_stages:\n  best:\n    files: [key.pem]\n    mAP: 0.5\nbest_stage_name: best\nmap: 0.5\n")
    with pytest.raises(OutputError, match=r"names 'key\.pem'"):
        training_outputs(out, scratch=tmp_path, complete=True)
    result.rename(elsewhere / "result.yaml")
    result.symlink_to(elsewhere / "result.yaml")
    assert training_outputs(out, scratch=tmp_path, complete=True) == []
    (out / "result.tsv").symlink_to(elsewhere / "key.pem")
    assert mining_outputs(out, scratch=tmp_path, candidates=tmp_path / "none") == []


def test_a_plain_file_is_opened_where_it_lies(out):
    (out / "lode").mkdir()
    with open_plain_to_write(out / "lode" / "a") as file:
        file.write(b"whole")
    with open_plain_to_write(out / "lode" / "a") as file:
        file.seek(2)
        file.write(b"O")
    with open_plain(out, "lode/a") as file:
        assert file.read() == b"whOle"
    with pytest.raises(OSError, match="no plain file"):
        open_plain(out, "lode")
