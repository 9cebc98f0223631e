"""Archives through the real built-in executor into versions of a played installation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lodeworks_builtin.ingest import ingest
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.service.content_scope import task_scope
from lodeworks_formats.blob_pack import read_packed
from lodeworks_formats.task_inputs import IngestOptions

if TYPE_CHECKING:
    from pathlib import Path

    from dataset_world import DatasetWorld
    from lodeworks_controller.domain.task.task import ObjectRef


async def import_file(
    world: DatasetWorld, archive: Path, project: str, to: str, *, unknown: str = "add"
) -> tuple[ObjectRef, ...]:
    """Runs the executor on an archive, as a worker would, and takes in what it left."""
    task = await world.start_import(project, to, unknown=unknown)
    folder = world.root / task.id
    blobs = folder / "blobs"
    blobs.mkdir(parents=True)
    exchange = folder / "exchange"
    report = await asyncio.to_thread(
        ingest, archive, exchange=exchange, blobs=blobs, options=IngestOptions(), progress=lambda *_: None
    )
    stored = [await world.blobs.put_bytes(data) for data in read_packed(blobs).values()]
    left = await world.blobs.put_file(exchange)
    told = await world.blobs.put_bytes(report.to_bytes())
    async with world.store.transaction() as tx:
        await tx.blobs.reference(task_scope(task.id), [blob.digest for blob in (*stored, left, told)])
    outputs = (
        Output("exchange", left.digest, left.size_bytes),
        Output("report", told.digest, told.size_bytes),
    )
    return await world.finish(task, outputs)
