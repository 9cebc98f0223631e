"""The program itself: init, serve, a second serve, a port in use, doctor, a stop by signal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from lodeworks_controller.main import run; run()"]
LOCAL = ["--listen", "127.0.0.1:0", "--listen-agents", "127.0.0.1:0", "--listen-metrics", ""]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    assert run("init", "--state", str(state), "--json").returncode == 0
    return state


def wait_for_note(state: Path, program: subprocess.Popen[str]) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert program.poll() is None, "the controller ended"
        if (state / "controller.json").exists():
            return json.loads((state / "controller.json").read_text())
        time.sleep(0.05)
    raise AssertionError("the controller is not ready")


def test_init_is_harmless_to_repeat_and_keeps_the_token(state: Path) -> None:
    first, second = (json.loads(run("init", "--state", str(state), "--json").stdout) for _ in range(2))
    assert first == second
    assert first["token"].startswith("lode_")
    assert first["ca_fingerprint"].startswith("sha256:")
    assert state.stat().st_mode & 0o077 == 0


def test_it_serves_until_told_to_stop_and_only_once(state: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "serve", "--state", str(state), *LOCAL], text=True, stdout=subprocess.PIPE
    ) as first:
        try:
            note = wait_for_note(state, first)
            second = run("serve", "--state", str(state), *LOCAL)
            assert second.returncode == 4
            assert f"pid {first.pid}" in second.stderr
            assert str(note["listen"]) in second.stderr
            other = state.parent / "other"
            run("init", "--state", str(other))
            taken = run("serve", "--state", str(other), "--listen", str(note["listen"]), *LOCAL[2:])
            assert taken.returncode == 4
            assert "cannot be listened on" in taken.stderr
            healthy = run("doctor", "--state", str(state))
            assert "running at" in healthy.stdout
        finally:
            os.kill(first.pid, signal.SIGTERM)
        assert first.wait(timeout=30) == 0
    assert not (state / "controller.json").exists()
