"""Lineage: what was made from what, readable both ways."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """Anything that can be a parent or a child: a dataset version, a prediction set, a model version, an evaluation."""

    type: str
    id: str


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """``child`` was made from ``parent``, which played ``role`` in it (first, second, train, val, model, …)."""

    parent: Node
    child: Node
    role: str


DATASET_VERSION = "dataset_version"
PREDICTION_SET = "prediction_set"
MODEL_VERSION = "model_version"


def _reach(start: Node, edges: Iterable[Edge], *, downward: bool) -> tuple[Edge, ...]:
    by_end: dict[Node, list[Edge]] = defaultdict(list)
    for edge in edges:
        by_end[edge.parent if downward else edge.child].append(edge)
    seen, waiting, found = {start}, deque([start]), list[Edge]()
    while waiting:
        for edge in sorted(by_end[waiting.popleft()]):
            found.append(edge)
            end = edge.child if downward else edge.parent
            if end not in seen:
                seen.add(end)
                waiting.append(end)
    return tuple(found)


def ancestors(node: Node, edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """Returns the edges that lead up from the node, nearest first."""
    return _reach(node, edges, downward=False)


def descendants(node: Node, edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """Returns the edges that lead down from the node, nearest first."""
    return _reach(node, edges, downward=True)
