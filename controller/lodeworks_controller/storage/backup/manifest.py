"""What a backup says of itself, and whether it is still what it was.

A backup is a folder::

    manifest.json      this: version, revision, each file with size and sha256
    database/          lode.db, or lode.dump in pg_dump's custom form
    trust/             keys and certificates, as in the state folder
    logs/              logs and metric series
    blobs.txt          digest and size of each blob that the database refers to, sorted
    blobs/ab/<digest>  the blobs
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from lodeworks_controller.errors import InvalidError, NotFoundError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
BLOB_LIST: Final = "blobs.txt"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup.

    Attributes:
        created_at: When it was taken, ISO 8601.
        program: Version of the program that took it.
        revision: Schema of its database.
        database: ``sqlite`` or ``postgresql``.
        blobs: How many.
        blob_bytes: Their bytes together.
        missing: Digests that the database refers to and the store did not have.
        files: Path → [size, sha256] of everything but blobs.
    """

    created_at: str
    program: str
    revision: str
    database: str
    blobs: int
    blob_bytes: int
    missing: list[str] = field(default_factory=list)
    files: dict[str, list[Any]] = field(default_factory=dict)
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes it, as the last file of a backup."""
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Reads it; raises NotFoundError where there is no backup, InvalidError for one that is not understood."""
    try:
        document = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise NotFoundError("NO_BACKUP", f"{folder} is no backup: it has no {MANIFEST}") from None
    except ValueError as error:
        raise InvalidError("BACKUP_DAMAGED", f"{folder / MANIFEST} cannot be read: {error}") from error
    if document.get("format") != FORMAT:
        raise InvalidError(
            "BACKUP_FORMAT", f"{folder} has format {document.get('format')}, and this program knows {FORMAT}"
        )
    return Manifest(**document)


def described(folder: Path) -> dict[str, list[Any]]:
    """Returns size and sha256 of each file but the blobs and the manifest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith("blobs/") and name != MANIFEST:
            found[name] = [path.stat().st_size, digest_of(path)]
    return found


def blob_path(folder: Path, digest: str) -> Path:
    """Returns where a backup keeps a blob."""
    return folder / "blobs" / digest[:2] / digest


def listed_blobs(folder: Path) -> Iterator[tuple[str, int]]:
    """Yields digest and size of each blob of a backup."""
    with (folder / BLOB_LIST).open() as lines:
        for line in lines:
            digest, size = line.split()
            yield digest, int(size)


def verify(folder: Path, *, deep: bool = True) -> tuple[Manifest, list[str]]:
    """Returns the manifest of a backup, and what is wrong with it: nothing, for a good one. Blocks.

    Args:
        folder: The backup.
        deep: True reads each blob; else only sizes are compared.
    """
    manifest = read_manifest(folder)
    wrong = []
    for name, (size, digest) in manifest.files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != size or digest_of(path) != digest:
            wrong.append(f"{name} is not what it was")
    if BLOB_LIST in manifest.files and not wrong:
        for digest, size in listed_blobs(folder):
            path = blob_path(folder, digest)
            if not path.is_file():
                wrong.append(f"blob {digest} is missing")
            elif path.stat().st_size != size or (deep and digest_of(path) != digest):
                wrong.append(f"blob {digest} is not what it was")
    return manifest, wrong


def digest_of(path: Path) -> str:
    """Returns the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
