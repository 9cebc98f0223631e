"""Whose turn it is: an order between the lanes, from what runs, the weights and the quotas.

Between projects the smaller share goes first: the slots that a project holds, divided by its weight. Within a project
it is priority, then age. Priorities above PRIORITY_MOST are for administrators and go before every share.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from lodeworks_controller.domain.task.lane import Lane
from lodeworks_controller.domain.task.quota import Quotas, Use
from lodeworks_controller.errors import InvalidError

PRIORITY_MOST: Final = 100
"""What a person may set; an administrator may go up to ten times that."""
URGENT_MOST: Final = 1_000

_Held = Mapping[tuple[str, str], Use]
"""What runs, by project and user."""


def check_priority(priority: int, *, administrator: bool) -> int:
    """Refuses a priority out of range."""
    most = URGENT_MOST if administrator else PRIORITY_MOST
    if -PRIORITY_MOST <= priority <= most:
        return priority
    also = "" if administrator else f"; up to {URGENT_MOST}, before the shares of projects, for administrators"
    message = f"a priority lies between {-PRIORITY_MOST} and {most}{also}"
    raise InvalidError("PRIORITY_RANGE", message, field="priority")


def urgency(priority: int) -> int:
    """Returns how far a priority lies above what people may set; 0 for most."""
    return max(0, priority - PRIORITY_MOST)


class Waiter(Protocol):
    """What the order looks at."""

    @property
    def id(self) -> str:
        """Of the task."""
        ...

    @property
    def priority(self) -> int:
        """Larger goes first."""
        ...


W = TypeVar("W", bound=Waiter)


class Draw(Generic[W]):
    """Draws one task after the other from the fronts of the lanes, counting what was taken.

    Args:
        fronts: The first tasks of each lane, or of each only the first, in the order of the lane.
        held: What runs, by project and user; may be empty where only one project has a front and no quota binds.
        quotas: What is set.
    """

    def __init__(self, fronts: Mapping[Lane, Sequence[W]], *, held: _Held, quotas: Quotas) -> None:
        self._fronts: dict[Lane, list[W]] = {}
        for lane, tasks in fronts.items():
            self.put(lane, tasks)
        self._by_user: dict[str, Use] = {}
        self._by_project: dict[str, Use] = {}
        self._quotas = quotas
        for (project_id, user_id), use in held.items():
            self._by_project[project_id] = self._by_project.get(project_id, Use()).and_also(use)
            self._by_user[user_id] = self._by_user.get(user_id, Use()).and_also(use)

    def put(self, lane: Lane, tasks: Sequence[W]) -> None:
        """Adds what stands next in a lane that is empty."""
        if tasks:
            self._fronts[lane] = list(reversed(tasks))

    def next(self) -> tuple[Lane, W] | None:
        """Returns whose turn it is and takes it from its front; None when nothing is left that may start."""
        open_lanes = [lane for lane in self._fronts if not self.over_quota(lane)]
        if not open_lanes:
            return None
        lane = min(open_lanes, key=self._place)
        tasks = self._fronts[lane]
        task = tasks.pop()
        if not tasks:
            del self._fronts[lane]
        return lane, task

    def close(self, lane: Lane) -> None:
        """Draws no more from a lane: what it asks cannot be had now."""
        self._fronts.pop(lane, None)

    def took(self, lane: Lane) -> None:
        """Counts a task of the lane as running."""
        gpus = lane.wants.gpus
        self._by_project[lane.project_id] = self._by_project.get(lane.project_id, Use()).plus(gpus)
        self._by_user[lane.user_id] = self._by_user.get(lane.user_id, Use()).plus(gpus)

    def over_quota(self, lane: Lane) -> str:
        """Returns which quota keeps the lane's tasks from starting, for people; empty when none does."""
        gpus = lane.wants.gpus
        use = self._by_project.get(lane.project_id, Use())
        reached = self._quotas.of_project(lane.project_id).reached(use, gpus=gpus)
        if reached:
            return f"the project is at {reached}"
        use = self._by_user.get(lane.user_id, Use())
        reached = self._quotas.of_user(lane.user_id).reached(use, gpus=gpus)
        return f"its user is at {reached}" if reached else ""

    def share(self, project_id: str) -> float:
        """Returns the slots that a project holds for each unit of its weight."""
        use = self._by_project.get(project_id)
        return 0.0 if use is None else use.slots / self._quotas.of_project(project_id).weight

    def _place(self, lane: Lane) -> tuple[int, float, int, str]:
        first = self._fronts[lane][-1]
        return -urgency(first.priority), self.share(lane.project_id), -first.priority, first.id
