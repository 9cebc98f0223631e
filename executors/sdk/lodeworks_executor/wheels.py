"""Wheels of installed pure Python packages, made without a network: what an image of an executor installs."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_executor.errors import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import Distribution

CLOSURE = (
    ("lodeworks-executor", "lodeworks_executor"),
    ("lodeworks-formats", "lodeworks_formats"),
    ("PyYAML", "yaml"),
    ("defusedxml", "defusedxml"),
)
"""What `import lodeworks_executor` needs: distribution, and its package."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_COMPILED = frozenset({".so", ".pyd", ".pyc"})
_TAG = "Wheel-Version: 1.0\nGenerator: lodeworks-executor\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheels(folder: Path) -> list[Path]:
    """Writes the wheels of CLOSURE as they are installed here; the same installation gives the same bytes.

    PyYAML goes without its optional compiled part, so that the wheels suit every machine.

    Raises:
        ExecutorError: a package is not installed; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_wheel(name, package, folder) for name, package in CLOSURE]


def _write_wheel(name: str, package: str, folder: Path) -> Path:
    try:
        found = distribution(name)
    except PackageNotFoundError as error:
        raise ExecutorError(f"{name} is not installed here; pip install {name}") from error
    stem = f"{name.replace('-', '_')}-{found.version}"
    path = folder / f"{stem}-py3-none-any.whl"
    files = [*_code(package), *_about(found, f"{stem}.dist-info")]
    record = "".join(f"{member},sha256={_digest(data)},{len(data)}\n" for member, data in files)
    record_name = f"{stem}.dist-info/RECORD"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in [*files, (record_name, f"{record}{record_name},,\n".encode())]:
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return path


def _code(package: str) -> Iterator[tuple[str, bytes]]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ExecutorError(f"package {package} is not installed here")
    root = Path(spec.origin).parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in _COMPILED:
            yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _about(found: Distribution, folder: str) -> Iterator[tuple[str, bytes]]:
    yield f"{folder}/METADATA", (found.read_text("METADATA") or "").encode()
    yield f"{folder}/WHEEL", _TAG.encode()
    for entry in found.files or ():
        if ".dist-info" in entry.parts[0] and "licen" in entry.name.lower():
            yield f"{folder}/licenses/{entry.name}", Path(str(entry.locate())).read_bytes()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
