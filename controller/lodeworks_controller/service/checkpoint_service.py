"""Checkpoints of runs that go on."""

from lodeworks_controller.errors import ConflictError
from lodeworks_controller.service.checkpoint import put_checkpoint
from lodeworks_controller.service.completion import FindMissing
from lodeworks_controller.service.lease import check_lease
from lodeworks_controller.service.store import Store


class CheckpointService:
    """Takes checkpoints of runs that go on."""

    def __init__(self, store: Store, *, find_missing: FindMissing) -> None:
        self._store = store
        self._find_missing = find_missing

    async def save(self, worker_id: str, task_id: str, lease_epoch: int, *, digest: str, size_bytes: int) -> None:
        """Names the newest checkpoint of a run, uploaded before. Safe to repeat.

        Raises StaleLeaseError, ConflictError OUTPUT_MISSING.
        """
        if await self._find_missing([digest]):
            message = f"checkpoint {digest} is not in the store; upload it and repeat"
            raise ConflictError("OUTPUT_MISSING", message, digest=digest)
        async with self._store.transaction() as tx:
            task = await check_lease(tx, worker_id, task_id, lease_epoch)
            await put_checkpoint(tx, task, lease_epoch, digest=digest, size_bytes=size_bytes)
