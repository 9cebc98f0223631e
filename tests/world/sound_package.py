"""Real algorithm packages of the made network, sound or broken in one way."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

from lodeworks_converters import Attempt, PackagePlan, find_converter, write_variant
from lodeworks_formats.package import PackageManifest, read_package, write_package
from lodeworks_runtime import load_onnx
from made_network import encoded, made_picture, model_info, save_network


@cache
def picture() -> bytes:
    """Returns the picture of the golden probe."""
    return encoded(made_picture(1, count=4)[0])


def make_package(folder: Path, *, max_detections: int = 300, stage: str = "best") -> PackageManifest:
    """Makes a package in `folder`; another number of detections makes another answer, so that versions differ."""
    work = folder.with_name(f"{folder.name}-work")
    (work / "out").mkdir(parents=True)
    model = save_network(work / "made.onnx", info=model_info(max_detections=max_detections))
    artifact = find_converter("onnx", precision="fp32").convert(
        model, attempt=Attempt("fp32"), calibration=[], out=work / "out"
    )
    plan = PackagePlan(
        target="onnx",
        precision="fp32",
        recipe=load_onnx(model).recipe,
        probe_picture=picture(),
        probe_extension="png",
        provenance={"stage": stage},
    )
    manifest = write_variant(artifact, source=work / "out", plan=plan, out=folder)
    shutil.rmtree(work)
    return manifest


def break_probe(package: Path, folder: Path) -> PackageManifest:
    """Copies a package and makes its golden probe expect another answer."""
    shutil.copytree(package, folder)
    expected = json.loads((folder / "expected.json").read_bytes())
    for box in expected["boxes"]:
        box["x"] += 40
    (folder / "expected.json").write_text(json.dumps(expected))
    return _rewritten(folder)


def break_weights(package: Path, folder: Path) -> PackageManifest:
    """Copies a package and makes its weights something that no runtime loads."""
    shutil.copytree(package, folder)
    manifest = read_package(folder)
    (folder / manifest.file("weights").path).write_bytes(b"no network")
    return _rewritten(folder)


def need_other_runtime(package: Path, folder: Path) -> PackageManifest:
    """Copies a package and makes it need a runtime that is nowhere."""
    shutil.copytree(package, folder)
    manifest = PackageManifest.from_bytes((folder / "manifest.json").read_bytes())
    write_package(folder, replace(manifest, runtime=replace(manifest.runtime, name="abacus")))
    return read_package(folder)


def _rewritten(folder: Path) -> PackageManifest:
    write_package(folder, PackageManifest.from_bytes((folder / "manifest.json").read_bytes()))
    return read_package(folder)
