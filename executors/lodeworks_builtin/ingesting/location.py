"""Where a source lies: handed to the run, on a disk of the worker, or behind an address. The worker's owner decides.

The worker's configuration reaches a run by three variables, which only this module reads:

    LODE_IMPORT_ROOTS       folders that imports may read, parted by the system's path separator; none by default
    LODE_IMPORT_PRIVATE     "1" lets addresses of private networks and of this machine be fetched
    LODE_IMPORT_MAX_BYTES   the most that is fetched from an address
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lodeworks_executor import Task
from lodeworks_formats import task_inputs
from lodeworks_formats.errors import FormatError
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.download import Limits, download

_MAX_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Policy:
    """What the owner of this worker allows imports to reach."""

    roots: tuple[Path, ...]
    limits: Limits

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> "Policy":
        """Returns the policy in an environment."""
        roots = [Path(root) for root in variables.get("LODE_IMPORT_ROOTS", "").split(os.pathsep) if root]
        most = int(variables.get("LODE_IMPORT_MAX_BYTES", _MAX_BYTES))
        return cls(tuple(roots), Limits(max_bytes=most, private=variables.get("LODE_IMPORT_PRIVATE") == "1"))


@contextmanager
def located_source(task: Task, options: IngestOptions, *, work_folder: Path) -> Iterator[Path]:
    """Yields the source of a run; what is fetched is removed afterwards.

    Raises:
        FormatError: SOURCE_NOT_ALLOWED, SOURCE_NOT_FOUND, or what `download` says.
    """
    policy = Policy.of(os.environ)
    if options.path:
        yield allowed_path(options.path, roots=policy.roots)
    elif options.url:
        fetched = work_folder / "fetched"
        try:
            download(options.url, fetched, limits=policy.limits, progress=task.progress)
            yield fetched
        finally:
            fetched.unlink(missing_ok=True)
    else:
        yield task.role(task_inputs.SOURCE)


def allowed_path(path: str, *, roots: tuple[Path, ...]) -> Path:
    """Returns a path that truly lies below a root, links followed.

    Raises:
        FormatError: SOURCE_NOT_ALLOWED outside of the roots, SOURCE_NOT_FOUND when nothing is there.
    """
    wanted = Path(path)
    real = [Path(os.path.realpath(root)) for root in roots]
    found = Path(os.path.realpath(wanted))
    if not wanted.is_absolute() or not any(found == root or root in found.parents for root in real):
        allowed = f"it allows {', '.join(map(str, roots))}" if roots else "it allows none"
        message = f"the worker does not let imports read {path}; {allowed}: see import_roots in its worker.toml"
        raise FormatError("SOURCE_NOT_ALLOWED", message)
    if not found.exists():
        raise FormatError("SOURCE_NOT_FOUND", f"there is no {path} on the worker's machine")
    return found
