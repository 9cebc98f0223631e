"""The controller's own processes for heavy work: they end with it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_CONTROLLER = """
import multiprocessing, time
from lodeworks_controller.storage.segments.pool import Pool

if __name__ == "__main__":
    pool = Pool(processes=1).start()
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def test_processes_of_a_killed_controller_end_with_it(tmp_path: Path):
    program = tmp_path / "controller.py"
    program.write_text(_CONTROLLER)
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        (started,) = map(int, controller.stdout.readline().split())
        assert _runs(started)
        controller.kill()
    deadline = time.monotonic() + 30
    while _runs(started) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = _runs(started)
    if left:
        os.kill(started, signal.SIGKILL)
    assert not left


def _runs(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
