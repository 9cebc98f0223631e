"""A kind of task: how its run is built, and what becomes of its outputs."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from lodeworks_controller.domain.task.run import Output, RunSpec
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.domain.task.task import ObjectRef, Task
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.store import Transaction

RunPlan = RunSpec
"""What ``prepare`` answers: the run, complete."""

Product = ObjectRef | tuple[ObjectRef, ...] | None
"""What a task made, the result first."""

Commit = Callable[[Transaction], Awaitable[Product]]
"""Makes the product; runs in the one transaction that also makes the task SUCCEEDED. Answers what it made."""


class Kind(Protocol):
    """One kind of task. Stateless between calls; each call may be repeated after a restart."""

    @property
    def name(self) -> str:
        """The kind's name: import, export, train, mine, infer, evaluate, convert, generate."""
        ...

    async def prepare(self, task: Task) -> RunPlan:
        """Builds the run once the task is ready: versions become views, views become blobs.

        Called outside a transaction. Raises InvalidError or NotFoundError where the inputs cannot make a run: the task
        then fails with BAD_INPUT and the error's message.
        """
        ...

    async def finish(self, task: Task, outputs: Sequence[Output]) -> Commit:
        """Checks the outputs and writes what is heavy, outside a transaction; answers what is left to commit.

        Raises BadOutputError where an output cannot be read, GuardError where the accuracy guard says no. May be
        repeated: what it writes is content-addressed.
        """
        ...

    async def abandon(self, tx: Transaction, task: Task, outputs: Sequence[Output], reason: FailureReason) -> Product:
        """Settles the task's object when the task failed or was cancelled; outputs are what there was by then.

        Answers what is left of use, such as a PARTIAL model; None for nothing.
        """
        ...


class Kinds:
    """The kinds that this controller knows, by name."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self._kinds: dict[str, Kind] = {kind.name: kind for kind in kinds}

    def add(self, kind: Kind) -> None:
        """Adds a kind; called while the controller is put together, before any task moves."""
        self._kinds[kind.name] = kind

    def prepares_alone(self, name: str) -> bool:
        """Says whether ``prepare`` of the kind reads nothing of the database: its class then says so.

        The run is built at once, and shares the commit of the task's submission.
        """
        return bool(getattr(self._kinds.get(name), "prepares_alone", False))

    def get(self, name: str) -> Kind:
        """Returns the kind, or refuses."""
        try:
            return self._kinds[name]
        except KeyError:
            raise InvalidError(
                "UNKNOWN_KIND", f"there is no kind of task named {name}; known are {', '.join(sorted(self._kinds))}"
            ) from None
