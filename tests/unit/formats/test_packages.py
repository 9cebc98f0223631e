"""Packages: every path and digest is checked, the same files give the same id, hostile tars are refused."""

import io
import json
import tarfile
from dataclasses import replace

import pytest
from lodeworks_formats import package, task_inputs
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import SegmentRef, VersionManifest, canonical_json
from lodeworks_formats.ymir_package import read_ymir_package, write_ymir_package


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "package"
    (made / "weights").mkdir(parents=True)
    (made / "weights" / "model.onnx").write_bytes(b"weights")
    (made / "labels.txt").write_text("a\nb\n")
    files = [
        package.PackageFile("weights/model.onnx", "", 0, "weights"),
        package.PackageFile("labels.txt", "", 0, "labels"),
    ]
    manifest = package.PackageManifest(
        "onnx",
        "fp32",
        package.Runtime("onnxruntime", "1.22", arch=("x86_64",)),
        package.InputSpec("images", 320, 416),
        ("a", "b"),
        provenance={"stage": "x"},
        files=tuple(files),
    )
    package.write_package(made, manifest)
    return made


def test_a_package_comes_back_and_its_id_is_its_digest(folder, tmp_path):
    manifest = package.read_package(folder)
    assert package.PackageManifest.from_bytes(manifest.to_bytes()) == manifest
    assert manifest.file("weights").size_bytes == 7
    assert package.write_package(folder, replace(manifest, files=manifest.files[::-1])) == manifest.package_id
    assert package.pack(folder, tmp_path / "a.tar") == manifest.package_id
    package.pack(folder, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert package.unpack(tmp_path / "a.tar", tmp_path / "out") == manifest


def test_a_changed_file_is_noticed(folder):
    (folder / "weights" / "model.onnx").write_bytes(b"Weights")
    with pytest.raises(FormatError) as caught:
        package.read_package(folder)
    assert caught.value.reason == "DIGEST_MISMATCH"


def test_a_missing_file_and_a_link_are_noticed(folder, tmp_path):
    (folder / "labels.txt").unlink()
    with pytest.raises(FormatError, match="not in the package"):
        package.read_package(folder)
    (tmp_path / "outside").write_text("a\nb\n")
    (folder / "labels.txt").symlink_to(tmp_path / "outside")
    with pytest.raises(FormatError, match="not in the package"):
        package.read_package(folder)


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "manifest.json"])
def test_a_manifest_cannot_name_paths_outside(folder, path):
    raw = json.loads((folder / "manifest.json").read_bytes())
    raw["files"][0]["path"] = path
    (folder / "manifest.json").write_bytes(canonical_json(raw))
    with pytest.raises(FormatError):
        package.read_package(folder)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"package_version": 2}', b'{"package_version": 1}'])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(FormatError) as caught:
        package.PackageManifest.from_bytes(data)
    assert caught.value.reason == "BAD_PACKAGE"


def _tar(path, *members):
    with tarfile.open(path, "w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_hostile_tars_write_nothing_outside(tmp_path):
    for name in ("../evil", "/tmp/evil", "a/../../evil"):
        _tar(tmp_path / "hostile.tar", (tarfile.TarInfo(name), b"x"))
        with pytest.raises(FormatError, match="leads out"):
            package.unpack(tmp_path / "hostile.tar", tmp_path / "deep" / "out")
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    _tar(tmp_path / "hostile.tar", (link, b""))
    with pytest.raises(FormatError, match="plain files"):
        package.unpack(tmp_path / "hostile.tar", tmp_path / "deep" / "out")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "deep" / "evil").exists()


INFO = """
executor_config: {class_names: [cat, dog], epochs: 3}
task_context: {task_type: 1}
stages: {best: {stage_name: best, files: [a.pt, a.onnx], timestamp: 3, mAP: 0.5}}
best_stage_name: best
package_version: 2.0.1
"""


def test_a_ymir_package_comes_back(tmp_path):
    members = [("ymir-info.yaml", INFO.encode()), ("best/a.pt", b"1"), ("best/a.onnx", b"22")]
    _tar(tmp_path / "m.tar", *[(tarfile.TarInfo(name), data) for name, data in members])
    read = read_ymir_package(tmp_path / "m.tar", tmp_path / "m")
    assert read.class_names == ("cat", "dog")
    assert (tmp_path / "m" / "best" / "a.onnx").read_bytes() == b"22"
    write_ymir_package(tmp_path / "again.tar", read, tmp_path / "m")
    assert read_ymir_package(tmp_path / "again.tar", tmp_path / "again") == read


def test_an_older_ymir_package_is_migrated(tmp_path):
    info = b"{executor_config: {class_names: [cat]}, models: [a.pt], task_context: {mAP: 0.25}}"
    _tar(tmp_path / "m.tar", (tarfile.TarInfo("ymir-info.yaml"), info), (tarfile.TarInfo("a.pt"), b"1"))
    read = read_ymir_package(tmp_path / "m.tar", tmp_path / "m")
    assert read.result.stages[0].scores == {"mAP": 0.25}
    assert (tmp_path / "m" / "default_best_stage" / "a.pt").read_bytes() == b"1"


def test_broken_ymir_packages_are_refused(tmp_path):
    (tmp_path / "text.tar").write_text("no tar")
    _tar(tmp_path / "empty.tar")
    _tar(tmp_path / "future.tar", (tarfile.TarInfo("ymir-info.yaml"), INFO.replace("2.0.1", "9.0.0").encode()))
    _tar(tmp_path / "missing.tar", (tarfile.TarInfo("ymir-info.yaml"), INFO.encode()))
    for name in ("text", "empty", "future", "missing"):
        with pytest.raises(FormatError) as caught:
            read_ymir_package(tmp_path / f"{name}.tar", tmp_path / name)
        assert caught.value.reason == "BAD_MODEL"


@pytest.mark.parametrize(
    "options",
    [
        task_inputs.IngestOptions(),
        task_inputs.ExportOptions(format="coco"),
        task_inputs.GenerateOptions(archive=True),
        task_inputs.MineOptions(top_k=3, score_threshold=0.5),
        task_inputs.InferOptions(),
        task_inputs.EvaluateOptions(class_names=("a",), iou=0.5),
        task_inputs.ConvertOptions(targets=("onnx", "openvino")),
    ],
)
def test_options_come_back(options):
    assert type(options).from_bytes(options.to_bytes()) == options


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"[", "JSON"),
        (b"[]", "object"),
        (b'{"topk": 1}', "'topk'"),
        (b'{"top_k": "1"}', "'top_k'"),
        (b'{"seed": true}', "'seed'"),
    ],
)
def test_mistyped_options_are_named(data, named):
    with pytest.raises(FormatError, match=named):
        task_inputs.MineOptions.from_bytes(data)


def test_a_version_manifest_comes_back():
    manifest = VersionManifest("detection", (SegmentRef("members", "ab" * 32, 10, 3, 1, 3),), "import", parents=("x",))
    again = VersionManifest.from_bytes(manifest.to_bytes())
    assert again == manifest
    assert again.digest == manifest.digest
    with pytest.raises(FormatError):
        VersionManifest.from_bytes(b"{}")
