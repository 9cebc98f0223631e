"""A whole executor to begin with: code, settings, Dockerfile and the wheels that its image installs."""

from __future__ import annotations

import shutil
from pathlib import Path

from lodeworks_executor.errors import ExecutorError
from lodeworks_executor.wheels import write_wheels

TEMPLATE = Path(__file__).with_name("template")


def write_executor(folder: Path) -> list[Path]:
    """Writes the files of a new executor and returns their paths.

    Args:
        folder: Where to; made if need be.

    Raises:
        ExecutorError: the folder holds something already, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExecutorError(f"{folder} is there already and is not empty; name another folder")
    try:
        shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        write_wheels(folder / "wheels")
    except OSError as error:
        raise ExecutorError(f"cannot write {folder} ({error.strerror}); name another folder") from error
    return sorted(path for path in folder.rglob("*") if path.is_file())
