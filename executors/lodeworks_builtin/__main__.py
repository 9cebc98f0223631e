"""`python -m lodeworks_builtin <name>`: runs one built-in executor on the run that LODE_ENV_FILE names.

`--probe` prints, as JSON, for each built-in null or the reason why it cannot run in this environment.
"""

import json
import sys
from importlib import import_module

from lodeworks_executor import run_program

from lodeworks_builtin.registry import BUILTINS, missing_reason

_USAGE = 2


def main(arguments: list[str]) -> int:
    """Runs the built-in of that name and returns the exit code."""
    if arguments == ["--probe"]:
        print(json.dumps({name: missing_reason(name) for name in BUILTINS}))  # noqa: T201 — the answer
        return 0
    if len(arguments) != 1 or arguments[0] not in BUILTINS:
        print(f"usage: python -m lodeworks_builtin {{{'|'.join(BUILTINS)}}}", file=sys.stderr)  # noqa: T201
        return _USAGE
    if reason := missing_reason(arguments[0]):
        print(f"error: {reason}", file=sys.stderr)  # noqa: T201
        return _USAGE
    # Only the module that is asked for: the others need libraries that may not be here.
    return run_program(import_module(f"lodeworks_builtin.{arguments[0]}").run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
