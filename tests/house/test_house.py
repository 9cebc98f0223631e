"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import keyword
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = (
    "clients/python/lodeworks/api/",
    "clients/python/lodeworks/agent/",
    "clients/python/lodeworks/blocking/",
)
LONGEST_FILE = 500
LONGEST_FUNCTION = 60
MIGRATIONS = "controller/lodeworks_controller/storage/database/migrations/versions/"
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def _tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def _ours() -> list[Path]:
    return [path for path in _tracked("*.py") if not str(path.relative_to(ROOT)).startswith(GENERATED)]


def test_no_file_is_too_long():
    long = {
        str(path.relative_to(ROOT)): count
        for path in _ours()
        if (count := len(path.read_text("utf-8").splitlines())) > LONGEST_FILE
    }
    assert not long, f"split these files: {long}"


def test_no_function_is_too_long():
    long = {}
    # A migration is a record of what a schema was, drafted by alembic.
    for path in (path for path in _ours() if not str(path.relative_to(ROOT)).startswith(MIGRATIONS)):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node, clean=False)
                lines = (node.end_lineno or 0) - node.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)
                if lines > LONGEST_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert not long, f"split these functions: {long}"


def test_no_name_is_vague_or_a_keyword():
    bad = [
        str(path.relative_to(ROOT))
        for path in _ours()
        if not str(path.relative_to(ROOT)).startswith("tests/")
        for part in [path.stem]
        if part in VAGUE or keyword.iskeyword(part)
    ]
    bad += [
        str(path.relative_to(ROOT))
        for path in _tracked("proto/*.proto")
        for part in path.relative_to(ROOT).with_suffix("").parts
        if keyword.iskeyword(part)
    ]
    assert not bad, f"rename these: {bad}"


def test_no_package_hides_proto_or_docker():
    hiding = [path for root in ("proto", "executors/images") for path in (ROOT / root).rglob("__init__.py")]
    assert not hiding


def test_no_work_is_left_for_later():
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|NotImplementedError")
    here = Path(__file__)
    left = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _ours()
        if path != here
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert not left, f"finish these: {left}"


def test_only_one_module_of_each_program_reads_the_environment():
    allowed = {
        "clients/python/lodeworks/profile.py",
        "controller/lodeworks_controller/config.py",
        "agent/lodeworks_worker/config.py",
        "agent/lodeworks_device/config.py",
        "executors/sdk/lodeworks_executor/environment.py",
    }
    programs = ("clients/python/lodeworks/", "controller/", "agent/lodeworks_worker/", "agent/lodeworks_device/")
    reading = re.compile(r"\bos\.(environ|getenv)\b")
    others = [
        str(path.relative_to(ROOT))
        for path in _ours()
        if str(path.relative_to(ROOT)).startswith(programs)
        and str(path.relative_to(ROOT)) not in allowed
        and reading.search(path.read_text("utf-8"))
    ]
    assert not others, f"read the environment in config.py or profile.py: {others}"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("lodeworks.api.task.v1.task_pb2_grpc", ("click", "rich", "httpx")),
        ("lodeworks.channel.dial", ("click", "rich", "httpx", "lodeworks.resources")),
        ("lodeworks.cli.main", ("rich", "httpx", "lodeworks.blocking", "lodeworks.resources")),
        ("lodeworks_formats.boxes", ("pyarrow", "numpy")),
        ("lodeworks_executor", ("pyarrow", "numpy", "cv2", "torch", "lodeworks")),
        ("lodeworks_runtime", ("torch", "docker", "sqlalchemy", "pyarrow", "duckdb")),
        ("lodeworks_device.main", ("torch", "docker", "sqlalchemy", "pyarrow", "duckdb")),
        ("lodeworks_device.main", ("numpy", "cv2", "tuf", "onnxruntime")),
        ("lodeworks_worker.main", ("torch", "sqlalchemy", "duckdb", "onnxruntime")),
        ("lodeworks_controller.main", ("torch", "docker", "onnxruntime", "alembic", "hotcoco")),
    ],
)
def test_importing_stays_light(module: str, heavy: tuple[str, ...]):
    script = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert loaded.stdout.strip() == "[]"
