"""A new executor runs as it is, and its image installs nothing but what lies in its folder."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from lodeworks_executor import ExecutorError
from lodeworks_executor.__main__ import main
from lodeworks_executor.scaffold import TEMPLATE, write_executor
from lodeworks_formats.boxes import Box
from lodeworks_formats.protocol import Environment, parse_config, render_config, render_environment
from lodeworks_formats.ymir_results import parse_inference_result, parse_mining_result, parse_training_result


def test_a_whole_executor_is_no_longer_than_a_page():
    assert len((TEMPLATE / "executor.py").read_text("utf-8").splitlines()) <= 40


def test_a_new_executor_has_all_that_its_image_needs(tmp_path):
    written = {str(path.relative_to(tmp_path / "mine")) for path in write_executor(tmp_path / "mine")}
    plain = {name for name in written if not name.startswith("wheels/")}
    assert plain == {
        "Dockerfile",
        "executor.py",
        "img-man/manifest.yaml",
        "img-man/training-template.yaml",
        "img-man/mining-template.yaml",
        "img-man/infer-template.yaml",
    }
    names = {re.split(r"-\d", Path(name).name)[0] for name in written - plain}
    assert names == {"lodeworks_executor", "lodeworks_formats", "PyYAML", "defusedxml"}
    copied = re.findall(r"^COPY (\S+)", (tmp_path / "mine/Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert copied
    assert all((tmp_path / "mine" / source).exists() for source in copied)
    for template in (tmp_path / "mine/img-man").iterdir():
        parse_config(template.read_text("utf-8"), file=template.name)


def test_the_wheels_are_complete_and_light(tmp_path):
    wheels = [path for path in write_executor(tmp_path / "mine") if path.suffix == ".whl"]
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
            (record,) = [name for name in names if name.endswith(".dist-info/RECORD")]
            listed = {line.split(",")[0] for line in archive.read(record).decode().splitlines()}
        assert listed == names
        assert not [name for name in names if name.endswith((".so", ".pyc"))]
    script = (
        f"import sys; sys.path[:0] = {list(map(str, wheels))!r}; import lodeworks_executor, yaml; "
        "from lodeworks_executor import Task; print(lodeworks_executor.__file__, yaml.__with_libyaml__)"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode == 0, said.stderr
    assert "mine/wheels" in said.stdout
    assert said.stdout.split()[-1] == "False"


def test_the_same_installation_gives_the_same_wheels(tmp_path):
    one, other = write_executor(tmp_path / "one"), write_executor(tmp_path / "other")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(ExecutorError, match="is not empty; name another folder"):
        write_executor(tmp_path / "mine")
    assert main(["new", str(tmp_path / "mine")]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_wrong_use_is_told(capsys):
    assert main([]) == 2
    assert "usage: python -m lodeworks_executor new FOLDER" in capsys.readouterr().err


def _lay_out(folder: Path, operations: set[str], **config: object) -> Path:
    """Lays out /in of a run over four pictures, whose cat is always at the same place."""
    source = folder / "in"
    (source / "assets").mkdir(parents=True)
    lines = []
    for number in range(4):
        picture, note = source / f"assets/{number}.png", source / f"assets/{number}.xml"
        cv2.imwrite(str(picture), np.full((48, 64, 3), 40 * number, np.uint8))
        note.write_text(
            "<annotation><size><width>64</width><height>48</height><depth>3</depth></size><object><name>cat</name>"
            "<bndbox><xmin>16</xmin><ymin>12</ymin><xmax>47</xmax><ymax>35</ymax></bndbox></object></annotation>"
        )
        lines.append(f"{picture}\t{note}" if "training" in operations else str(picture))
    for index in ("train", "val", "candidate"):
        (source / f"{index}-index.tsv").write_text("\n".join(lines) + "\n")
    environment = Environment.at("t1", operations=operations, input_root=str(source), output_root=str(folder / "out"))
    (source / "env.yaml").write_text(render_environment(environment))
    (source / "config.yaml").write_text(render_config({"task_id": "t1", "class_names": ["cat", "dog"], **config}))
    return source / "env.yaml"


def _run(folder: Path, env_file: Path) -> None:
    said = subprocess.run(
        [sys.executable, str(folder / "executor.py")],
        env={"LODE_ENV_FILE": str(env_file), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr


def test_a_new_executor_trains_mines_and_infers(tmp_path):
    write_executor(tmp_path / "mine")
    _run(tmp_path / "mine", _lay_out(tmp_path / "train", {"training"}))
    result = parse_training_result((tmp_path / "train/out/models/result.yaml").read_text())
    assert result.best_stage_name == "last"
    assert result.stages[0].scores["mAP"] == 1.0
    model = tmp_path / "train/out/models/last/places.json"
    _run(tmp_path / "mine", _lay_out(tmp_path / "use", {"mining", "infer"}, model_params_path=[str(model)]))
    assert len(parse_mining_result((tmp_path / "use/out/result.tsv").read_text())) == 4
    found = parse_inference_result((tmp_path / "use/out/infer-result.json").read_bytes())
    assert found == {f"{number}.png": (Box("cat", 16.0, 12.0, 32.0, 24.0, score=0.5),) for number in range(4)}
