"""`python -m lodeworks_builtin.convert_memory PACKAGE`: runs a package's probe and prints its peak memory as JSON."""

from __future__ import annotations

import json
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
    print(json.dumps({"peak_bytes": peak_bytes(), "ok": result.ok}))  # noqa: T201 - the answer
    return 0 if result.ok else 1


def peak_bytes() -> int:
    """Returns the greatest resident memory of this program so far.

    Not ru_maxrss: that one remembers the process that this one was forked from.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _KIB
    raise RuntimeError("the kernel does not tell VmHWM")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
