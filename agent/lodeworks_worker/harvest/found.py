"""Files that a run left, by role, before anything is sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lodeworks_worker.errors import OutputError
from lodeworks_worker.grant import OutputSlot


@dataclass(frozen=True, slots=True)
class Found:
    """One file by role; `listed` is False for blobs that another output names already."""

    role: str
    path: Path
    listed: bool = True


def fits(role: str, slot: OutputSlot) -> bool:
    """Whether a role belongs to a slot."""
    return role.startswith(slot.role[:-1]) if slot.role.endswith("/*") else role == slot.role


def check(found: Sequence[Found], slots: Iterable[OutputSlot], *, out: Path, complete: bool) -> list[Found]:
    """Returns what belongs to a slot.

    Raises:
        OutputError: A required output is missing (when the run should be `complete`), or one is too large.
    """
    kept: dict[str, Found] = {}
    for slot in slots:
        mine = [one for one in found if fits(one.role, slot)]
        if slot.required and complete and not mine:
            raise OutputError(f"the executor ended with 0 and left no output {slot.role!r}", file=_expected(slot.role))
        for one in mine:
            size = one.path.stat().st_size
            if slot.max_bytes and size > slot.max_bytes:
                name = str(one.path.relative_to(out)) if one.path.is_relative_to(out) else one.path.name
                raise OutputError(f"output {one.role!r} has {size} bytes; {slot.max_bytes} are allowed", file=name)
            kept[one.role] = one
    return list(kept.values())


def _expected(role: str) -> str:
    known = {
        "result": "models/result.yaml",
        "scores": "result.tsv",
        "predictions": "infer-result.json",
    }
    return known.get(role, f"lode/{role}")


def regular_files(folder: Path) -> list[Path]:
    """Lists the regular files below a folder, without links, which point where a stranger likes, and hidden ones."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    return [
        path for path in sorted(folder.rglob("*")) if not path.name.startswith(".") and is_regular(path, within=folder)
    ]


def is_regular(path: Path, *, within: Path) -> bool:
    """Says whether a path is a regular file that lies in a folder, and no link: those point where a stranger likes."""
    return path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(within.resolve())
