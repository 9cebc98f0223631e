"""A package whose files are sound and whose network nobody could run: enough for those who carry packages."""

from collections.abc import Sequence
from pathlib import Path

from lodeworks_formats.package import Health, InputSpec, PackageFile, PackageManifest, Runtime, pack, write_package

_FILES = {
    "weights.bin": "weights",
    "labels.txt": "labels",
    "probe.png": "probe-input",
    "expected.json": "expected-output",
}
_RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt"}


def packed_package(
    folder: Path,
    *,
    target: str = "onnx",
    precision: str = "fp32",
    seed: str = "",
    classes: Sequence[str] = ("RBC", "WBC"),
) -> tuple[bytes, dict[str, bytes]]:
    """Writes a package into a new folder; returns it packed, and its files by path."""
    folder.mkdir(parents=True)
    for name in _FILES:
        (folder / name).write_text(f"{name} of {target} {precision} {seed}")
    manifest = PackageManifest(
        target=target,
        precision=precision,
        runtime=Runtime(_RUNTIMES[target], "1.0", "3000"),
        io=InputSpec("images", 320, 320),
        classes=tuple(classes),
        health=Health("probe.png", "expected.json"),
        files=tuple(PackageFile(name, "", 0, role) for name, role in _FILES.items()),
    )
    write_package(folder, manifest)
    tar = folder.parent / f"{folder.name}.tar"
    pack(folder, tar)
    return tar.read_bytes(), {path.name: path.read_bytes() for path in folder.iterdir()}
