"""Taking a backup of an installation that runs.

The order makes it whole: first one moment of the database, then what that moment refers to. Blobs never change and
what loses its last reference stays for another day, so everything that the copied database names is still there. Files
of trust are written before the database speaks of what they hold; the newest signed list is copied first, then what it
lists.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from lodeworks_controller.errors import ConflictError, NotFoundError
from lodeworks_controller.service.blob_store import Blob, BlobStore
from lodeworks_controller.storage.backup.copying import clone, copy_tree, cut, link, size_of
from lodeworks_controller.storage.backup.database import copy_database, kind_of
from lodeworks_controller.storage.backup.manifest import BLOB_LIST, Manifest, blob_path, described, write_manifest

NEWEST_LIST = "repository/metadata/timestamp.json"


class BlobCopies(Protocol):
    """Brings blobs from where they are kept into files."""

    def copy(self, digests: Iterable[str], *, room: Callable[[str], Path]) -> AsyncIterator[Blob]:
        """Copies each blob into the file that `room` names for it; yields those that are there, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """What a backup is taken of.

    Attributes:
        database: A file of SQLite or the address of a PostgreSQL database.
        revision: Its schema.
        trust: Folder of keys and certificates.
        logs: Folder of logs.
        mark: File that tells the content of one installation from that of another.
        blobs: What copies the content.
        program: Version of the program.
    """

    database: Path | str
    revision: str
    trust: Path
    logs: Path
    mark: Path
    blobs: BlobCopies
    program: str


async def take(source: Source, out: Path, *, at: datetime) -> Manifest:
    """Takes a backup into a folder that is not there yet, and returns what is in it.

    Args:
        source: What is backed up.
        out: The folder; it appears when the backup is whole.
        at: The present moment.
    """
    making = _begin(out)
    digests = copy_database(source.database, making / "database")
    count, size_bytes, missing = await _copy_blobs(source.blobs, digests, making)
    copy_tree(source.logs, making / "logs")
    copy_tree(source.trust, making / "trust", first=NEWEST_LIST)
    if source.mark.is_file():
        clone(source.mark, making / source.mark.name)
    manifest = Manifest(
        created_at=at.isoformat(timespec="seconds"),
        program=source.program,
        revision=source.revision,
        database=kind_of(source.database),
        blobs=count,
        blob_bytes=size_bytes,
        missing=missing,
        files=described(making),
    )
    write_manifest(making, manifest)
    _appear(making, out)
    return manifest


def _begin(out: Path) -> Path:
    if out.exists() and any(out.iterdir()):
        raise ConflictError("BACKUP_EXISTS", f"{out} is not empty; name a new folder", path=str(out))
    making = out.with_name(f"{out.name}.partial")
    if making.exists():
        raise ConflictError(
            "BACKUP_EXISTS", f"{making} is there: a backup that broke off, or one under way; remove it, or name another"
        )
    making.mkdir(parents=True, mode=0o700)
    return making


def _appear(making: Path, out: Path) -> None:
    os.sync()
    if out.exists():
        out.rmdir()
    making.rename(out)


async def _copy_blobs(blobs: BlobCopies, digests: Iterable[str], folder: Path) -> tuple[int, int, list[str]]:
    """Copies what the database names; returns how many blobs, their bytes, and which the store does not have."""
    wanted = list(digests)
    sizes = dict[str, int]()
    async for blob in blobs.copy(wanted, room=lambda digest: _room(folder, digest)):
        sizes[blob.digest] = blob.size_bytes
    with (folder / BLOB_LIST).open("x") as listed:
        listed.writelines(f"{digest} {sizes[digest]}\n" for digest in sorted(sizes))
    return len(sizes), sum(sizes.values()), [digest for digest in wanted if digest not in sizes]


def _room(folder: Path, digest: str) -> Path:
    target = blob_path(folder, digest)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return target


class FolderCopies:
    """Copies blobs of a folder.

    Args:
        blobs: The store.
        linked: True makes blobs on the same filesystem other names of the same files; False copies them.
    """

    def __init__(self, blobs: BlobStore, *, linked: bool) -> None:
        self._blobs = blobs
        self._linked = linked

    async def copy(self, digests: Iterable[str], *, room: Callable[[str], Path]) -> AsyncIterator[Blob]:
        """Copies each blob into the file that `room` names for it; yields those that are there."""
        for digest in digests:
            try:
                size_bytes = await self._copy(digest, room(digest))
            except NotFoundError:
                continue
            yield Blob(digest, size_bytes)

    async def _copy(self, digest: str, target: Path) -> int:
        place = await self._blobs.locate(digest)
        if place.offset or size_of(place.path) != place.size_bytes:
            cut(place.path, target, offset=place.offset, size_bytes=place.size_bytes)
        elif self._linked:
            link(place.path, target)
        else:
            clone(place.path, target)
        return place.size_bytes
