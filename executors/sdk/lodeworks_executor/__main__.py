"""`python -m lodeworks_executor new FOLDER` writes an executor to begin with."""

from __future__ import annotations

import sys
from pathlib import Path

from lodeworks_executor.errors import ExecutorError
from lodeworks_executor.scaffold import write_executor

_USAGE = "usage: python -m lodeworks_executor new FOLDER"
_WRONG_USE = 2


def main(arguments: list[str]) -> int:
    """Runs the command; returns 0 done, 1 failed, 2 wrong use."""
    match arguments:
        case ["new", folder]:
            try:
                written = write_executor(Path(folder))
            except ExecutorError as error:
                print(error.message, file=sys.stderr)  # noqa: T201 - a command speaks
                return 1
            for path in written:
                print(path)  # noqa: T201
            return 0
        case _:
            print(_USAGE, file=sys.stderr)  # noqa: T201
            return _WRONG_USE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
