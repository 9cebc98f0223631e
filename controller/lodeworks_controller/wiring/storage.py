"""The part of the controller that keeps content and removes what nothing uses, put together by hand."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from lodeworks.api.storage.v1 import storage_pb2_grpc

from lodeworks_controller.background.collector import start_collector
from lodeworks_controller.background.roles import Roles
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.collection import Collection
from lodeworks_controller.service.storage import StorageService
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.listeners import Register
from lodeworks_controller.transport.storage import StorageServicer
from lodeworks_controller.wiring.ground import Ground
from lodeworks_controller.wiring.place import BACKUP_LOCK


class StoragePart:
    """Collection of content, and what people may ask about it."""

    def __init__(self, ground: Ground, *, roles: Roles) -> None:
        self._role = roles.role("collector")
        lock = ground.config.state / BACKUP_LOCK
        self.collection = Collection(roles.store("collector"), ground.kept, paused=lambda: is_locked(lock))
        # Whoever asks for a pass may have reached a controller without the role: claims keep the two apart.
        asked = Collection(ground.store, ground.kept, paused=lambda: is_locked(lock))
        self.storage = StorageService(ground.store, asked)

    def for_people(self, gate: Gate) -> Sequence[Register]:
        """Returns what people may call."""
        storage = StorageServicer(self.storage, gate=gate)
        return [lambda server: storage_pb2_grpc.add_StorageServiceServicer_to_server(storage, server)]

    @asynccontextmanager
    async def running(self, *, clockwork: Callable[[], Ticks] = Ticks) -> AsyncIterator[None]:
        """Runs the background role."""
        ticks = clockwork()
        start_collector(self.collection, role=self._role, ticks=ticks)
        ticks.start()
        try:
            yield
        finally:
            ticks.stop()


def is_locked(path: Path) -> bool:
    """Says whether another process holds the lock on a file; a file that is not there is not locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
