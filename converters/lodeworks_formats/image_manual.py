"""What an executor image says of itself in /img-man: which tasks it does, with which settings.

What others call:

    parse_image_manual({"training-template.yaml": text, ...}) -> ImageManual      refuses what is no executor image
    PulledImage(...).to_bytes()      PulledImage.from_bytes(data)                 what a worker found
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.protocol import ExportFormat, parse_config

MANUAL_FOLDER = "/img-man"
MANIFEST = "manifest.yaml"
DETECTION = 2
TEMPLATES: Mapping[str, str] = {
    "train": "training-template.yaml",
    "mine": "mining-template.yaml",
    "infer": "infer-template.yaml",
}
"""Operation → file; its presence says that the image can do it."""

TYPE_FOLDERS: Mapping[int, str] = {DETECTION: "det", 3: "semantic-seg", 4: "instance-seg"}
_OTHER_TYPES = "multi-modal"
MOST_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageManual:
    """The contents of /img-man.

    Attributes:
        object_types: 2 detection, 3 semantic, 4 instance segmentation; the first is what it is registered for.
        templates: Object type → operation → template, verbatim.
        live_code: Whether the image fetches its program from a repository.
        official: Whether its maker calls it official.
    """

    object_types: tuple[int, ...]
    templates: Mapping[int, Mapping[str, str]]
    live_code: bool = False
    official: bool = False


@dataclass(frozen=True, slots=True)
class PulledImage:
    """What a worker found out about an image.

    Attributes:
        reference: As it was asked for.
        pinned: With its digest: the registry's, or the image's own id where it was never pushed.
        image_id: The engine's.
        size_bytes: Unpacked.
        architecture: Such as amd64.
        files: The texts below /img-man by path, such as ``det/training-template.yaml``.
    """

    reference: str
    pinned: str
    image_id: str
    size_bytes: int
    architecture: str
    files: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON."""
        return canonical_json(asdict(self))

    @staticmethod
    def from_bytes(data: bytes) -> "PulledImage":
        """Reads it back; raises FormatError BAD_IMAGE."""
        try:
            told = json.loads(data)
            files = {str(path): str(text) for path, text in dict(told["files"]).items()}
            return PulledImage(
                reference=str(told["reference"]),
                pinned=str(told["pinned"]),
                image_id=str(told["image_id"]),
                size_bytes=int(told["size_bytes"]),
                architecture=str(told["architecture"]),
                files=files,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("BAD_IMAGE", f"what the worker found cannot be read ({error})", "image") from error


def parse_image_manual(files: Mapping[str, str], *, image: str = "the image") -> ImageManual:
    """Reads the files of /img-man.

    Args:
        files: Texts by path below /img-man.
        image: What the message calls it.

    Raises:
        FormatError: NOT_AN_EXECUTOR, with what was looked for, or BAD_CONFIG with file and line.
    """
    manifest = parse_config(files.get(MANIFEST, ""), file=f"{MANUAL_FOLDER}/{MANIFEST}")
    several, types = _object_types(manifest)
    templates: dict[int, dict[str, str]] = {}
    looked_for: list[str] = []
    for kind in types:
        folder = f"{TYPE_FOLDERS.get(kind, _OTHER_TYPES)}/" if several else ""
        paths = {operation: f"{folder}{name}" for operation, name in TEMPLATES.items()}
        looked_for += paths.values()
        found = {operation: files[path] for operation, path in paths.items() if path in files}
        for operation, text in found.items():
            _check_template(text, file=f"{MANUAL_FOLDER}/{paths[operation]}")
        if found:
            templates[kind] = found
    if not templates:
        names = ", ".join(f"{MANUAL_FOLDER}/{path}" for path in looked_for)
        there = ", ".join(f"{MANUAL_FOLDER}/{path}" for path in sorted(files)) or "nothing"
        message = f"{image} is not an executor image: I looked for {names} and found {there}"
        raise FormatError("NOT_AN_EXECUTOR", message)
    return ImageManual(
        object_types=tuple(kind for kind in types if kind in templates),
        templates=templates,
        live_code=manifest.get("enable_livecode") is True,
        official=manifest.get("is_official") is True,
    )


def _object_types(manifest: Mapping[str, object]) -> tuple[bool, tuple[int, ...]]:
    """Returns whether templates lie in a folder for each type, and the types."""
    told = manifest.get("object_type", DETECTION)
    listed = told if isinstance(told, list) else [told]
    if not listed or not all(isinstance(one, int) and not isinstance(one, bool) for one in listed):
        message = f"object_type must be a number or a list of numbers, not {told!r}"
        raise FormatError("BAD_CONFIG", message, f"{MANUAL_FOLDER}/{MANIFEST}")
    return isinstance(told, list), tuple(dict.fromkeys(listed))


def _check_template(text: str, *, file: str) -> None:
    told = parse_config(text, file=file)
    wanted = told.get("export_format")
    if wanted is None:
        return
    try:
        ExportFormat.parse(str(wanted))
    except FormatError as error:
        raise error.at(file) from error
