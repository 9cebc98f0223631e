"""The files that every kind of run has to do with: its options going in, its outputs coming back."""

from collections.abc import Sequence

from lodeworks_formats.task_inputs import OPTIONS

from lodeworks_controller.domain.task.run import Input, Output
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.service.blob_store import BlobStore


async def options_input(blobs: BlobStore, options: bytes) -> Input:
    """Stores the options of a built-in executor; as of any input of a run, planning keeps them while the task lives."""
    stored = await blobs.put_bytes(options)
    return Input(OPTIONS, stored.digest, stored.size_bytes)


def required_output(outputs: Sequence[Output], role: str, *, of: str) -> Output:
    """Returns the output of a role, or raises BadOutputError; `of` is what should have left it: "the mining"."""
    found = next((output for output in outputs if output.role == role), None)
    if found is None:
        raise BadOutputError(f"{of} left no {role}", file=role)
    return found
