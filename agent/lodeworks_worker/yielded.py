"""Brings the outputs of an ended run to the controller."""

from collections.abc import Sequence
from pathlib import Path

from lodeworks_formats import task_inputs
from lodeworks_formats.manifest import sha256_file

from lodeworks_worker.cache import Cache
from lodeworks_worker.control_plane import BlobTransfer, LocalFile, Scope
from lodeworks_worker.errors import OutputError
from lodeworks_worker.grant import Grant
from lodeworks_worker.harvest.found import Found
from lodeworks_worker.harvest.harvest import harvest
from lodeworks_worker.outcome import FailureReason, Judgement, OutcomeState, Output
from lodeworks_worker.putting_down import in_thread

_BATCH = 1000


async def send_outputs(
    grant: Grant, judgement: Judgement, *, folder: Path, cache: Cache, transfer: BlobTransfer
) -> tuple[Judgement, tuple[Output, ...]]:
    """Harvests and sends; returns the judgement, which bad output turns into a failure, and the outputs by content.

    Of a run that did not end well, what can be read is kept: a cancelled training has its stages.
    """
    scope = Scope(grant.task_id, grant.lease_epoch)
    complete = judgement.state is OutcomeState.SUCCEEDED
    candidates = await _candidates(grant, cache=cache, transfer=transfer, scope=scope) if complete else None
    try:
        try:
            found = await in_thread(harvest, grant, folder=folder, candidates=candidates, complete=complete)
        except OutputError as error:
            judgement = _bad_output(error)
            found = await _partial(grant, folder)
    finally:
        cache.release(grant.name)
    outputs: list[Output] = []
    for start in range(0, len(found), _BATCH):
        batch = found[start : start + _BATCH]
        files = await in_thread(_named, batch)
        await transfer.send(scope, files)
        outputs += [
            Output(role=one.role, digest=file.digest, size_bytes=file.size_bytes)
            for one, file in zip(batch, files, strict=True)
            if one.listed
        ]
    return judgement, tuple(outputs)


async def _partial(grant: Grant, folder: Path) -> list[Found]:
    try:
        return await in_thread(harvest, grant, folder=folder, candidates=None, complete=False)
    except OutputError:
        return []


async def _candidates(grant: Grant, *, cache: Cache, transfer: BlobTransfer, scope: Scope) -> Path | None:
    """Returns the view of the candidates, fetched again where the cache has let go of it."""
    for one in grant.run.inputs:
        if one.role == task_inputs.CANDIDATE:
            await cache.ensure({one.digest: one.size_bytes}, owner=grant.name, scope=scope, transfer=transfer)
            return cache.path(one.digest)
    return None


def _named(found: Sequence[Found]) -> list[LocalFile]:
    return [LocalFile(sha256_file(one.path), one.path.stat().st_size, one.path) for one in found]


def _bad_output(error: OutputError) -> Judgement:
    place = f"{error.file}:{error.line}: " if error.line else f"{error.file}: " if error.file else ""
    message = str(error)
    return Judgement(
        OutcomeState.FAILED,
        FailureReason.BAD_OUTPUT,
        message if error.file and message.startswith(error.file) else f"{place}{message}",
    )
