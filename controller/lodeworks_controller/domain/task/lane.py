"""Lanes: tasks of one project and person that ask the same of a worker stand in one lane, in order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from lodeworks_controller.domain.task.labels import Term, met, parse_labels
from lodeworks_controller.domain.task.run import Resources


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker offers to tasks."""

    names: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Wants:
    """What a task asks of a worker."""

    requires: frozenset[str] = frozenset()
    gpus: int = 0
    labels: tuple[Term, ...] = ()
    only_free_gpus: bool = False

    def suits(self, offer: Offer) -> bool:
        """Says whether such a worker could run the task, once enough of its GPUs are free."""
        return self.requires <= offer.names and self.gpus <= offer.gpus and met(self.labels, offer.labels)


def wants_of(requires: frozenset[str], resources: Resources) -> Wants:
    """Returns what a task with these resources asks."""
    return Wants(requires, resources.gpus, parse_labels(resources.labels), resources.only_free_gpus)


@dataclass(frozen=True, slots=True)
class Lane:
    """Whose tasks stand here, and what they ask. Within it, priority and age decide."""

    project_id: str
    user_id: str
    wants: Wants

    def __str__(self) -> str:
        """Returns the lane as one text: the same for the same, and readable back."""
        wants = self.wants
        told = [
            wants.gpus,
            int(wants.only_free_gpus),
            self.project_id,
            self.user_id,
            " ".join(sorted(wants.requires)),
            ",".join(str(term) for term in wants.labels),
        ]
        return json.dumps(told, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Head:
    """The task that stands first in a lane."""

    lane: Lane
    id: str
    priority: int


def read_lane(text: str) -> Lane:
    """Returns the lane that a text tells."""
    gpus, only_free, project_id, user_id, requires, labels = json.loads(text)
    return Lane(project_id, user_id, Wants(frozenset(requires.split()), gpus, parse_labels(labels), bool(only_free)))
