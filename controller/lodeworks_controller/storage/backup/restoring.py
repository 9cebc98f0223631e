"""Bringing a backup back to where nothing is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lodeworks_controller.errors import ConflictError, InvalidError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.storage.backup.copying import clone, copy_tree
from lodeworks_controller.storage.backup.database import kind_of, put_database
from lodeworks_controller.storage.backup.manifest import Manifest, blob_path, listed_blobs, verify

_SHOWN = 5
_SMALL_BYTES = 1 << 20
_BATCH_BYTES = 64 << 20
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backup is brought back.

    Attributes:
        database: A file of SQLite or the address of a PostgreSQL database, not there or empty.
        trust: Folder of keys and certificates, not there.
        logs: Folder of logs, not there.
        mark: File that tells the content of one installation from that of another.
        blobs: The content.
        settle: Called when the database is there, before anybody uses it; None where there is nothing to do.
    """

    database: Path | str
    trust: Path
    logs: Path
    mark: Path
    blobs: BlobStore
    settle: Callable[[], Awaitable[None]] | None = None


def check_backup(folder: Path, *, database: Path | str, newest_revision: str) -> Manifest:
    """Returns the manifest of a good backup that fits this program and kind of database, or refuses. Blocks."""
    manifest, wrong = verify(folder, deep=False)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InvalidError("BACKUP_DAMAGED", f"{folder} is damaged: {'; '.join(wrong[:_SHOWN])}{more}")
    if manifest.revision > newest_revision:
        raise ConflictError(
            "SCHEMA_REVISION",
            f"the backup has a newer schema ({manifest.revision}) than this program; install lodeworks-platform "
            f"{manifest.program} or newer",
        )
    if manifest.database != kind_of(database):
        raise ConflictError(
            "DATABASE_KIND", f"the backup is of {manifest.database}, and a {kind_of(database)} database is named"
        )
    return manifest


async def bring_back(folder: Path, target: Target) -> None:
    """Copies everything back, the database last: before that, there is no installation. Blobs are read and checked."""
    await _bring_blobs(folder, target.blobs)
    mark = folder / target.mark.name
    if mark.is_file() and not target.mark.exists():
        target.mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        clone(mark, target.mark)
    copy_tree(folder / "logs", target.logs)
    copy_tree(folder / "trust", target.trust)
    put_database(folder / "database", target.database)


async def _bring_blobs(folder: Path, blobs: BlobStore) -> None:
    """Stores the blobs: small ones many at once, since each batch costs one sync; large ones one by one."""
    batch, batch_bytes = list[str](), 0
    for digest, size_bytes in listed_blobs(folder):
        if size_bytes > _SMALL_BYTES:
            stored = await blobs.put_file(blob_path(folder, digest))
            if stored.digest != digest:
                raise InvalidError("BACKUP_DAMAGED", f"blob {digest} of the backup is not what it was")
            continue
        batch.append(digest)
        batch_bytes += size_bytes
        if len(batch) >= _AT_ONCE or batch_bytes > _BATCH_BYTES:
            await _bring_small(folder, blobs, batch)
            batch, batch_bytes = [], 0
    await _bring_small(folder, blobs, batch)


async def _bring_small(folder: Path, blobs: BlobStore, digests: Sequence[str]) -> None:
    if digests:
        contents = await asyncio.to_thread(lambda: [blob_path(folder, digest).read_bytes() for digest in digests])
        try:
            await blobs.put_many(contents, digests=digests)
        except InvalidError as error:
            raise InvalidError("BACKUP_DAMAGED", f"a blob of the backup is not what it was: {error.message}") from error
