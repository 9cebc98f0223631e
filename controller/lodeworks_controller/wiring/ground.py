"""What everything of the controller stands on: its state, opened once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lodeworks_controller.adapters.prometheus import PrometheusMeter
from lodeworks_controller.config import Config, object_store_options
from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.ids import Ids, ulids
from lodeworks_controller.domain.task.lease import LeaseTerms
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.sparing import SparingBlobs
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.blobs.object_address import object_store
from lodeworks_controller.storage.blobs.objects import ObjectBlobStore
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_controller.trust.installation import Trust, load_trust
from lodeworks_controller.wiring.place import belong
from lodeworks_controller.wiring.version import program_version


@dataclass(slots=True)
class Ground:
    """What everything else stands on."""

    config: Config
    clock: Clock
    ids: Ids
    store: SqlStore
    blobs: BlobStore
    """For all who store content: spares what they store from the collector."""
    kept: BlobStore
    """The store itself; for the collector."""
    trust: Trust
    pool: Pool
    wakes: Wakes
    terms: LeaseTerms
    meter: PrometheusMeter = field(default_factory=lambda: PrometheusMeter(version=program_version()))


@asynccontextmanager
async def grounded(config: Config, *, clock: Clock, pool: Pool) -> AsyncIterator[Ground]:
    """Opens the state of an installation, and closes it when left."""
    ids = ulids(clock)
    trust = await asyncio.to_thread(load_trust, config.trust, clock=clock)
    store = await SqlStore.open(config.database_address, clock=clock, ids=ids, synchronous=config.synchronous)
    blobs = _blob_store(config, store, ids=ids)
    try:
        await asyncio.to_thread(blobs.open)
        meter = PrometheusMeter(version=program_version())
        store.measure_commits(meter.committed)
        await belong(config, store, ca_fingerprint=trust.authority.fingerprint, new_mark=ids())
        yield Ground(
            config, clock, ids, store, SparingBlobs(blobs, store), blobs, trust, pool, Wakes(), LeaseTerms(), meter
        )
    finally:
        await store.close()


def _blob_store(config: Config, store: SqlStore, *, ids: Ids) -> DiskBlobStore | ObjectBlobStore:
    if not config.blobs_url:
        return DiskBlobStore(config.blobs, ids=ids, owner=config.controller_name)
    objects = object_store(config.blobs_url, object_store_options())
    return ObjectBlobStore(objects, store, folder=config.object_folder, ids=ids, cache_bytes=config.cache_bytes)
