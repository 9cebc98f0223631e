"""What a run may write, and what the end of a fetch means."""

from lodeworks_worker.drivers.base import Exit
from lodeworks_worker.follow import used_bytes
from lodeworks_worker.outcome import FailureReason
from lodeworks_worker.settle import judge


def test_room_is_counted_below_folders_and_not_behind_links(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"1" * 100_000)
    empty = used_bytes(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to("/usr")
    assert empty == 0
    assert 100_000 <= used_bytes(tmp_path) < 200_000


def _judged(folder, code: int, *, pulls: bool = False, gpus: int = 0):
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "monitor.txt").write_text(f"t\t1.0\t0.5\t4\t{code}\tno\n")
    return judge(
        Exit(code=1, signal=None, oom=False), ending=None, ending_message="", folder=folder, pulls=pulls, gpus=gpus
    )


def test_a_fetch_that_fails_on_the_network_is_no_fault_of_the_worker(tmp_path):
    assert _judged(tmp_path, 300301, pulls=True).failure is FailureReason.IMAGE_PULL
    assert _judged(tmp_path, 300301, pulls=False).failure is FailureReason.WORKER
    assert _judged(tmp_path, 300001, pulls=True).failure is FailureReason.BAD_INPUT


def test_who_misses_a_gpu_and_asked_for_none_hears_to_ask(tmp_path):
    told = _judged(tmp_path, 300102, pulls=False)
    assert told.failure is FailureReason.BAD_INPUT
    assert told.message.endswith("ask for a GPU with --gpus 1")
    assert _judged(tmp_path, 300102, gpus=1).failure is FailureReason.WORKER
