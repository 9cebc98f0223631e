"""How the algorithms stand, in memory as on disk. Every change goes through here: to the disk first, then seen."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from lodeworks_device.desired import DesiredState
from lodeworks_device.states import AlgorithmState, Goal
from lodeworks_device.store.state_file import StateFile

_T = TypeVar("_T")
_TRUSTED_TIME = "trusted_time"


class Ledger:
    """The states of all algorithms. `changed` is called after each change."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._one = asyncio.Lock()
        self._states: dict[str, AlgorithmState] = {}
        self._listeners: list[Callable[[], None]] = []
        self.generation = 0
        self.trusted_at: datetime | None = None
        """The newest time that a verified signature vouches for."""

    @property
    def states(self) -> Mapping[str, AlgorithmState]:
        """The states by name of the algorithm."""
        return MappingProxyType(self._states)

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every change."""
        self._listeners.append(listener)

    async def open(self, *, at: datetime) -> None:
        """Reads what is on disk."""
        stored = await self._do(lambda: self._file.open(at=at))
        self._states = dict(stored.algorithms)
        self.generation = stored.generation
        told = stored.notes.get(_TRUSTED_TIME)
        self.trusted_at = datetime.fromisoformat(told) if told else None

    async def close(self) -> None:
        """Closes the file."""
        await self._do(self._file.close)
        self._thread.shutdown()

    async def swap(self, old: AlgorithmState, new: AlgorithmState) -> bool:
        """Stores `new` if the algorithm still stands as `old`; says whether it did."""
        async with self._one:
            if self._states.get(old.name) is not old:
                return False
            await self._do(lambda: self._file.save([new]))
            self._states[new.name] = new
        self._tell()
        return True

    async def accept(self, desired: DesiredState, *, at: datetime) -> None:
        """Takes a new generation: every algorithm under it, and the generation itself, at once or not at all."""
        async with self._one:
            kept = {
                wanted.name: state.want(wanted, at=at) if state else AlgorithmState.begin(wanted, at=at)
                for wanted in desired.algorithms
                if wanted.goal is not Goal.ABSENT
                for state in [self._states.get(wanted.name)]
            }
            removed = self._states.keys() - kept.keys()
            trusted_at = max(desired.issued_at, self.trusted_at or desired.issued_at)
            notes = {_TRUSTED_TIME: trusted_at.isoformat()}
            await self._do(
                lambda: self._file.save(kept.values(), removed=removed, generation=desired.generation, notes=notes)
            )
            self._states, self.generation, self.trusted_at = kept, desired.generation, trusted_at
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    async def _do(self, work: Callable[[], _T]) -> _T:
        # Shielded: what a cancelled caller had begun to store must be seen by the next one.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
