"""Lineage: what was made from what, readable both ways."""

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
