"""Reuse: when two runs are the same, so that the outputs of one are those of the other.

Only executors that say that they are deterministic count: of the built-in ones those listed here, of others those whose
template has ``deterministic: true``.
"""

import hashlib
import json
from typing import Final

from lodeworks_formats.protocol import parse_config

from lodeworks_controller.domain.task.run import RunSpec

DECLARATION: Final = "deterministic"
"""The key of an executor's template by which it says that the same inputs give the same outputs."""

_BUILTIN: Final = frozenset(f"builtin:{name}" for name in ("ingest", "export", "generate", "mine", "infer", "evaluate"))


def is_deterministic(run: RunSpec) -> bool:
    """Says whether the executor of a run declares that the same inputs give the same outputs."""
    if run.executor in _BUILTIN:
        return True
    if DECLARATION not in run.settings_yaml:
        return False
    return parse_config(run.settings_yaml, file="settings").get(DECLARATION) is True


def reuse_key(run: RunSpec, *, kind: str, release: str) -> str:
    """Returns what tells equal runs: the same for the same executor, settings and inputs; empty where none count.

    Args:
        run: What would be run.
        kind: Kind of the task: what is made of the outputs.
        release: Version of the platform, which the built-in executors are part of.
    """
    if not is_deterministic(run):
        return ""
    told = {
        "kind": kind,
        "release": release,
        "executor": run.executor,
        "operations": run.operations,
        "class_names": run.class_names,
        "settings": run.settings_yaml,
        "inputs": sorted((one.role, one.digest) for one in run.inputs),
        "outputs": sorted(slot.role for slot in run.outputs),
        "export_format": run.export_format,
        "object_type": run.object_type,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
