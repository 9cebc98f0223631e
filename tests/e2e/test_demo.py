"""`lode demo`, as a person types it: every step really happens. Whole in `make soak`, with shorter trainings before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from local_installation import LocalWorld


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "options", [pytest.param((), marks=pytest.mark.soak, id="whole"), pytest.param(("--epochs", "20"), id="short")]
)
def test_the_demo_goes_the_whole_way(tmp_path: Path, options: tuple[str, ...]):
    world = LocalWorld(tmp_path)
    said = world.lode("demo", "--state", tmp_path / "demo", *options, timeout_s=880)
    lines = said.out.splitlines()
    steps = [line[:20].strip() for line in lines if line[:1].strip()]
    assert steps[:10] == [
        "installation",
        "import",
        "first model",
        "mining",
        "second model",
        "publish",
        "device",
        "answer over HTTP",
        "broken release",
        "report",
    ]
    assert "COMMITTED" in said.out
    assert "refused" in said.out
    assert "broken_text.png" in said.out
    for variant in ("onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"):
        assert variant in said.out
    assert (tmp_path / "demo/answer.png").read_bytes().startswith(b"\x89PNG")
    assert "<html" in (tmp_path / "demo/report.html").read_text()
    assert not _processes_of(tmp_path), "the demo left processes behind"


def _processes_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder / "demo") in command and "pytest" not in command:
                found.append(command)
    return found
