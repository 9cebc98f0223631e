"""OpenVINO asked by several threads at once, as the first thing after a network was loaded."""

import subprocess
import sys

import pytest

openvino = pytest.importorskip("openvino")

PROGRAM = """
import os, sys, threading
from pathlib import Path
from lodeworks_runtime.openvino_backend import OpenvinoBackend
import openvino
backend = OpenvinoBackend(Path(sys.argv[1]))
sys.setswitchinterval(1e-6)
together = threading.Barrier(4)

def ask():
    together.wait()
    openvino.Type.f32.to_dtype()

threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(20)
os._exit(any(thread.is_alive() for thread in threads))
"""


def test_threads_that_ask_first_at_once_do_not_wait_for_each_other(tmp_path):
    place = openvino.opset13.parameter([1, 3, 8, 8], openvino.Type.f32, name="images")
    path = tmp_path / "plain.xml"
    openvino.save_model(openvino.Model([openvino.opset13.relu(place)], [place], "plain"), path)
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=False, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()[-500:]
