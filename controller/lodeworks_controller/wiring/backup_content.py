"""Content on its way into a backup and out of it, from and to a folder or an object store."""

import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from lodeworks_controller.config import Config, object_store_options
from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.storage.backup.restoring import Target
from lodeworks_controller.storage.backup.taking import BlobCopies, FolderCopies
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.blobs.fetching import Fetching
from lodeworks_controller.storage.blobs.object_address import object_store
from lodeworks_controller.storage.blobs.objects import ObjectBlobStore
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.wiring.place import BACKUP_LOCK, MARK

_PAGE: Final = 1_000


@asynccontextmanager
async def copies_of(config: Config, *, clock: Clock, linked: bool) -> AsyncIterator[BlobCopies]:
    """Yields what copies the content of an installation, whether that runs or not."""
    if not config.blobs_url:
        yield FolderCopies(DiskBlobStore(config.blobs, ids=ulids(clock)), linked=linked)
        return
    # Where blobs lie is asked of the running database and not of its copy: packs are rewritten meanwhile.
    index = await SqlStore.open(config.database_address, clock=clock, ids=ulids(clock))
    try:
        yield Fetching(object_store(config.blobs_url, object_store_options()), index)
    finally:
        await index.close()


@contextmanager
def content_held(config: Config) -> Iterator[None]:
    """Keeps this controller's collector from content while a backup is taken."""
    with (config.state / BACKUP_LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def target_of(config: Config, *, clock: Clock) -> AsyncIterator[Target]:
    """Yields where a backup is brought back.

    Content goes first and the database last. So where content is in an object store, the notes of where it lies are
    made in a database of their own, and brought into the restored one when that is there.

    Raises ConflictError BUCKET_NOT_EMPTY where the object store has something under that address.
    """
    ids = ulids(clock)
    place = (config.database_address, config.trust, config.logs, config.blobs / MARK)
    if not config.blobs_url:
        blobs = DiskBlobStore(config.blobs, ids=ids)
        blobs.open()
        yield Target(*place, blobs, settle=lambda: _replace_index(config, None, clock=clock))
        return
    objects = object_store(config.blobs_url, object_store_options())
    await _require_empty(objects, config.blobs_url)
    scratch = config.state / "restoring.db"
    notes = await SqlStore.open(scratch, clock=clock, ids=ids)
    try:
        await notes.create_schema()
        store = ObjectBlobStore(objects, notes, folder=config.object_folder, ids=ids, cache_bytes=config.cache_bytes)
        store.open()
        yield Target(*place, store, settle=lambda: _replace_index(config, notes, clock=clock))
    finally:
        await notes.close()
        for path in scratch.parent.glob(f"{scratch.name}*"):
            path.unlink()


async def _require_empty(objects: Any, url: str) -> None:
    async for page in objects.list(chunk_size=1):
        if page:
            raise ConflictError(
                "BUCKET_NOT_EMPTY",
                f"there is something at {url} already, and a restore overwrites nothing; name another bucket or prefix",
            )


async def _replace_index(config: Config, notes: SqlStore | None, *, clock: Clock) -> None:
    """Forgets where the backed-up installation had its content, and notes where it is now."""
    store = await SqlStore.open(config.database_address, clock=clock, ids=ulids(clock))
    try:
        async with store.transaction() as tx:
            await tx.objects.clear()
        if notes is None:
            return
        async with notes.snapshot() as noted, store.transaction() as tx:
            for pack in await noted.objects.packs():
                await tx.objects.put(await noted.objects.in_pack(pack.id), pack=pack)
            after = ""
            while page := await noted.objects.page(after=after, limit=_PAGE):
                await tx.objects.put([one for one in page if not one.pack])
                after = page[-1].digest
    finally:
        await store.close()
