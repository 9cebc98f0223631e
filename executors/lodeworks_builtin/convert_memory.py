"""`python -m lodeworks_builtin.convert_memory PACKAGE`: runs a package's probe and prints its peak memory as JSON."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from lodeworks_runtime.probe import probe

_ARGUMENTS = 2
_KIB = 1024


def main(arguments: list[str]) -> int:
    """Prints {peak_bytes, ok} and returns the exit code."""
    if len(arguments) != _ARGUMENTS:
        print("usage: python -m lodeworks_builtin.convert_memory PACKAGE", file=sys.stderr)  # noqa: T201
        return _ARGUMENTS
    result = probe(Path(arguments[1]))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    print(json.dumps({"peak_bytes": peak_bytes, "ok": result.ok}))  # noqa: T201 - the answer
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
