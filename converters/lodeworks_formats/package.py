"""The algorithm package: a folder with a canonical JSON manifest and the files that it names by digest.

What others call:

    PackageManifest(target=..., precision=..., runtime=Runtime(...), io=InputSpec(...), classes=(...), thresholds=...,
                    decoder="lodeworks", files=(PackageFile(path, sha256, size_bytes, role), ...), ...)
    manifest.to_bytes()  PackageManifest.from_bytes(data)  manifest.package_id (= sha256 of to_bytes())
    write_package(folder, manifest) -> package id        hashes the files at the given paths, writes manifest.json
    read_package(folder) -> PackageManifest              checks every path, size and digest
    describe_file(folder, path, role=...) -> PackageFile
    pack(folder, tar) -> package id                      deterministic tar      unpack(tar, folder) -> PackageManifest

Only what the inputs determine stands in the manifest; measurements and times stand in a statement beside it.
"""

import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lodeworks_formats.archive_members import extract_member
from lodeworks_formats.archive_names import safe_name
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json, sha256_file, sha256_hex

MANIFEST_NAME = "manifest.json"
ROLES = ("weights", "labels", "config", "probe-input", "expected-output", "card")

_VERSION = 1
_MAX_MANIFEST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Runtime:
    """What must be installed to run the package: [min_version, max_version) and the machine's architectures."""

    name: str
    min_version: str = ""
    max_version: str = ""
    arch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture is fitted: scaled and padded with a grey value (fit `centre` or `top-left`), or `stretch`."""

    pad: int = 114
    fit: str = "centre"
    resample: str = "linear"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The input of the network.

    Attributes:
        name: Of the tensor.
        height: Pixels of the letterboxed picture.
        width: Likewise.
        dtype: float32.
        layout: NCHW.
        colour: rgb or bgr.
        scale: Factor from bytes, before mean and std.
        mean: Subtracted per channel, after scale.
        std: Divided by per channel.
        letterbox: How the picture is fitted.
        outputs: Names of the output tensors.
    """

    name: str
    height: int
    width: int
    dtype: str = "float32"
    layout: str = "NCHW"
    colour: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    letterbox: Letterbox = Letterbox()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What turns raw outputs into boxes."""

    score: float = 0.25
    nms_iou: float = 0.6
    max_detections: int = 300


@dataclass(frozen=True, slots=True)
class Resources:
    """What a device must have free."""

    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """The golden probe: a picture, the boxes it must give, and how far an answer may be off."""

    probe_input: str = ""
    expected_output: str = ""
    min_iou: float = 0.99
    max_score_delta: float = 0.005
    max_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file: relative POSIX path, digest, size, one of ROLES."""

    path: str
    sha256: str
    size_bytes: int
    role: str


@dataclass(frozen=True, slots=True)
class PackageManifest:
    """What a package says about itself; its digest is the package id.

    Attributes:
        target: Such as onnx, openvino, tensorrt.
        precision: fp32, fp16 or int8.
        runtime: What runs it.
        io: The input.
        classes: Names by index.
        decoder: lodeworks, yolov8, …
        thresholds: From raw outputs to boxes.
        resources: What it needs.
        health: How a device proves it.
        provenance: Model stage, dataset versions, class-map revision, tool versions, licence; JSON values.
        decoder_options: Such as strides; JSON values.
        files: Every file but the manifest, sorted by path.
    """

    target: str
    precision: str
    runtime: Runtime
    io: InputSpec
    classes: tuple[str, ...]
    decoder: str = "lodeworks"
    thresholds: Thresholds = Thresholds()
    resources: Resources = Resources()
    health: Health = Health()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[PackageFile, ...] = ()

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON."""
        files = sorted((asdict(file) for file in self.files), key=lambda file: str(file["path"]))
        return canonical_json({"package_version": _VERSION, **asdict(self), "files": files})

    @property
    def package_id(self) -> str:
        """The sha256 of the canonical JSON."""
        return sha256_hex(self.to_bytes())

    def file(self, role: str) -> PackageFile:
        """Returns the first file of a role; raises FormatError BAD_PACKAGE when there is none."""
        for entry in self.files:
            if entry.role == role:
                return entry
        raise FormatError("BAD_PACKAGE", f"the package has no file of role {role!r}", MANIFEST_NAME)

    def files_of(self, role: str) -> tuple[PackageFile, ...]:
        """Returns the files of a role, by path."""
        return tuple(entry for entry in self.files if entry.role == role)

    @staticmethod
    def from_bytes(data: bytes) -> "PackageManifest":
        """Reads a manifest; raises FormatError BAD_PACKAGE."""
        try:
            raw = json.loads(data)
            if raw.pop("package_version") != _VERSION:
                raise FormatError(
                    "BAD_PACKAGE", "the package is of a newer version; upgrade this program", MANIFEST_NAME
                )
            manifest = _manifest(raw)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("BAD_PACKAGE", f"this is no package manifest ({error})", MANIFEST_NAME) from error
        paths = [safe_name(entry.path) for entry in manifest.files]
        if len(set(paths)) != len(paths) or MANIFEST_NAME in paths:
            raise FormatError("BAD_PACKAGE", "a path stands twice in the manifest", MANIFEST_NAME)
        return manifest


def _manifest(raw: dict[str, Any]) -> PackageManifest:
    io, runtime = dict(raw.pop("io")), dict(raw.pop("runtime"))
    io["letterbox"] = Letterbox(**io["letterbox"])
    for key in ("mean", "std", "outputs"):
        io[key] = tuple(io[key])
    runtime["arch"] = tuple(runtime["arch"])
    return PackageManifest(
        runtime=Runtime(**runtime),
        io=InputSpec(**io),
        classes=tuple(raw.pop("classes")),
        thresholds=Thresholds(**raw.pop("thresholds")),
        resources=Resources(**raw.pop("resources")),
        health=Health(**raw.pop("health")),
        files=tuple(PackageFile(**entry) for entry in raw.pop("files")),
        **raw,
    )


def describe_file(folder: Path, path: str, *, role: str) -> PackageFile:
    """Returns the manifest's entry for a file that lies in the package folder."""
    full = folder / safe_name(path)
    return PackageFile(path, sha256_file(full), full.stat().st_size, role)


def write_package(folder: Path, manifest: PackageManifest) -> str:
    """Writes manifest.json, with digests and sizes taken from the files that lie there; returns the package id."""
    entries = (describe_file(folder, entry.path, role=entry.role) for entry in manifest.files)
    complete = replace(manifest, files=tuple(sorted(entries, key=lambda entry: entry.path)))
    (folder / MANIFEST_NAME).write_bytes(complete.to_bytes())
    return complete.package_id


def read_package(folder: Path) -> PackageManifest:
    """Reads a package and proves every file; raises FormatError BAD_PACKAGE, UNSAFE_NAME or DIGEST_MISMATCH."""
    path = folder / MANIFEST_NAME
    if not path.is_file() or path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise FormatError("BAD_PACKAGE", "the package has no manifest.json, or one that is too large", MANIFEST_NAME)
    manifest = PackageManifest.from_bytes(path.read_bytes())
    for entry in manifest.files:
        full = folder / entry.path
        if not full.is_file() or not full.resolve().is_relative_to(folder.resolve()):
            raise FormatError("BAD_PACKAGE", "the file is not in the package", entry.path)
        if full.stat().st_size != entry.size_bytes or sha256_file(full) != entry.sha256:
            raise FormatError("DIGEST_MISMATCH", "the file is not the one that the manifest names", entry.path)
    return manifest


def pack(folder: Path, tar: Path) -> str:
    """Writes a proved package as a tar whose bytes depend on nothing but its files; returns the package id."""
    manifest = read_package(folder)
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in (MANIFEST_NAME, *sorted(entry.path for entry in manifest.files)):
            info = tarfile.TarInfo(name)
            info.size = (folder / name).stat().st_size
            info.mode = 0o644
            with (folder / name).open("rb") as stream:
                archive.addfile(info, stream)
    return manifest.package_id


def unpack(tar: Path, folder: Path) -> PackageManifest:
    """Extracts a package into a new folder and proves it; raises FormatError for anything but plain safe files."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(tar) as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = safe_name(member.name)
                if not member.isreg():
                    raise FormatError("UNSAFE_NAME", "a package holds plain files only", name)
                extract_member(archive, member, folder / name)
    except tarfile.TarError as error:
        raise FormatError("BAD_PACKAGE", f"this is no package tar ({error})", tar.name) from error
    return read_package(folder)
