"""Before the installation: says so when pip would take gigabytes of CUDA on a machine without a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ADVICE = """\
pip would take the CUDA build of torch (several gigabytes), but this machine shows no NVIDIA GPU.
The CPU build is enough here. Either of:
    .venv/bin/pip install 'torch==2.13.*' --index-url https://download.pytorch.org/whl/cpu
    PIP_FIND_LINKS=/folder/with/a/cpu/wheel make install
or take the CUDA build all the same:
    LODE_TORCH=cuda make install"""


def main() -> int:
    """Returns 1 with advice when the CUDA build would come unasked."""
    if importlib.util.find_spec("torch") or shutil.which("nvidia-smi") or os.environ.get("LODE_TORCH") == "cuda":
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            (
                *(sys.executable, "-m", "pip", "install", "--dry-run", "-q", "--ignore-installed"),
                *("--report", str(report), "torch==2.13.*"),
            ),
            check=True,
        )
        names = [entry["metadata"]["name"] for entry in json.loads(report.read_text())["install"]]
    if any(name.lower().startswith("nvidia-") for name in names):
        print(ADVICE, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
