"""The program: one built-in by name, run by the protocol, failing with its reason and code."""

import io
import json
import zipfile

import pytest
import yaml
from lodeworks_builtin.__main__ import main
from lodeworks_builtin.made_pictures.archive import made_pictures
from lodeworks_builtin.registry import BUILTINS
from lodeworks_formats import task_inputs
from lodeworks_formats.blob_pack import read_packed
from lodeworks_formats.protocol import Environment, asset_path, render_environment
from lodeworks_formats.segments import read_pictures
from lodeworks_formats.task_inputs import ExportOptions, GenerateOptions


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a built-in on inputs by role; returns its exit code and the folder of its outputs."""

    def start(name, inputs, assets=()):
        root = tmp_path / name
        for role, data in inputs.items():
            path = root / "in" / "lode" / role
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for base_name, data in assets:
            path = root / "in" / "assets" / asset_path(base_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (root / "out").mkdir(parents=True)
        environment = Environment.at(
            "task-1", operations=frozenset(), input_root=str(root / "in"), output_root=str(root / "out")
        )
        (root / "in" / "env.yaml").write_text(render_environment(environment))
        (root / "in" / "config.yaml").write_text(yaml.safe_dump({"task_id": "task-1"}))
        monkeypatch.setenv("LODE_ENV_FILE", str(root / "in" / "env.yaml"))
        return main([name]), root / "out"

    return start


def _archive():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for index, (data, annotation) in enumerate(made_pictures(GenerateOptions(pictures=3, width=64, height=64))):
            archive.writestr(f"images/{index}.jpg", data)
            archive.writestr(f"gt/{index}.xml", annotation)
    return sink.getvalue()


def test_ingest_then_export_through_files_alone(run):
    code, out = run("ingest", {task_inputs.SOURCE: _archive()})
    assert code == 0
    assert json.loads((out / "lode" / "report").read_bytes())["pictures"]["accepted"] == 3
    assert (out / "monitor.txt").read_text().startswith("task-1\t")
    rows = list(read_pictures(out / "lode" / "exchange"))
    blobs = [(row.hash_name, read_packed(out / "lode" / "blobs")[row.digest]) for row in rows]
    inputs = {
        task_inputs.VIEW: (out / "lode" / "exchange").read_bytes(),
        task_inputs.OPTIONS: ExportOptions().to_bytes(),
    }
    code, out = run("export", inputs, blobs)
    assert code == 0
    assert len(zipfile.ZipFile(out / "lode" / "archive").namelist()) == 6


def test_generate_makes_what_an_import_makes(run):
    options = GenerateOptions(pictures=3, width=64, height=64)
    code, out = run("generate", {task_inputs.OPTIONS: options.to_bytes()})
    assert code == 0
    assert sorted(path.name for path in (out / "lode").iterdir()) == ["blobs", "exchange", "report"]
    assert len(list(read_pictures(out / "lode" / "exchange"))) == 3


@pytest.mark.parametrize(
    ("inputs", "said", "code"),
    [
        ({task_inputs.SOURCE: b"no archive"}, "BROKEN_ARCHIVE", "300002"),
        ({task_inputs.SOURCE: b"", task_inputs.OPTIONS: b'{"fromat": "voc"}'}, "fromat", "300002"),
        ({}, "source", "300002"),
    ],
)
def test_a_failure_says_why(run, inputs, said, code):
    exit_code, out = run("ingest", {"other": b"", **inputs})
    assert exit_code == 1
    monitor = (out / "monitor.txt").read_text().splitlines()[0].split("\t")
    assert monitor[3:5] == ["4", code]
    assert said in monitor[5]
    assert not (out / "lode" / "exchange").exists()


def test_an_unknown_name_is_wrong_use(capsys):
    assert main(["ingets"]) == 2
    assert "ingest" in capsys.readouterr().err


def test_the_probe_answers_for_each(capsys):
    assert main(["--probe"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == set(BUILTINS)
    assert answer["ingest"] is None
