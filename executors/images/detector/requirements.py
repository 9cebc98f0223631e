"""Prints what the detector needs at the installed versions: the closure of its requirements, without our wheels."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution

ROOTS = ("numpy", "opencv-python-headless", "torch", "onnx", "tensorboardX", "onnxruntime", "hotcoco")
FORMATS = ("PyYAML", "defusedxml", "pyarrow")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def closure() -> dict[str, str]:
    """Returns name → version of everything that must be installed."""
    found: dict[str, str] = {}
    waiting = [*ROOTS, *FORMATS]
    while waiting:
        name = waiting.pop()
        key = name.lower().replace("_", "-")
        if key in found:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # an optional requirement, or one for another platform
            continue
        # A local version (2.13.0+cpu) names a build that only some indexes have.
        found[key] = package.version.partition("+")[0]
        needed = [text for text in package.requires or () if "extra ==" not in text]
        waiting += [match.group() for text in needed if (match := _NAME.match(text))]
    return found


if __name__ == "__main__":
    for name, version in sorted(closure().items()):
        print(f"{name}=={version}")
