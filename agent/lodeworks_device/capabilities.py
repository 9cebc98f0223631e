"""What this device can do."""

import asyncio
import contextlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lodeworks_formats.package import PackageManifest

from lodeworks_device.files import read_json, write_json

_WITHIN_S = 60.0
_USEFUL_FLAGS = ("sse4_2", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm")
_KEPT = "capabilities.json"
_RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "lodeworks-platform")
_LIST_RUNTIMES = """
import json
from importlib.metadata import version
from lodeworks_runtime import backends
print(json.dumps({name: version(name) for name, missing in backends().items() if missing is None}))
"""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The machine, and the runtimes that work on it with their versions."""

    arch: str = ""
    cpu_flags: tuple[str, ...] = ()
    runtimes: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    disk_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns them as they are reported."""
        return {
            "arch": self.arch,
            "cpu_flags": list(self.cpu_flags),
            "runtimes": dict(self.runtimes),
            "accelerators": [],
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
        }

    def lacks(self, manifest: PackageManifest) -> str | None:
        """Returns what is missing to run a package, None when nothing is."""
        runtime = manifest.runtime
        there_is = self.runtimes.get(runtime.name)
        if there_is is None:
            there = ", ".join(sorted(self.runtimes)) or "none"
            return f"the package needs the runtime {runtime.name}, this device has: {there}"
        if runtime.min_version and _parts(there_is) < _parts(runtime.min_version):
            return f"the package needs {runtime.name} {runtime.min_version} or newer, this device has {there_is}"
        if runtime.max_version and _parts(there_is) >= _parts(runtime.max_version):
            return f"the package needs {runtime.name} before {runtime.max_version}, this device has {there_is}"
        if runtime.arch and self.arch not in runtime.arch:
            return f"the package is for {', '.join(runtime.arch)}, this device is {self.arch}"
        if manifest.resources.memory_bytes > self.memory_bytes:
            return f"the package needs {manifest.resources.memory_bytes:,} bytes of memory, this device has fewer"
        return None


async def survey(state: Path) -> Capabilities:
    """Looks at this machine.

    The runtimes are loaded by a process of their own, for that moment only; what it found is believed as long as the
    same versions are installed, so that a restart of the agent takes no time from what is being served.
    """
    kept = state / _KEPT
    installed = _installed()
    told = read_json(kept) or {}
    if told.get("installed") != installed:
        told = {"installed": installed, "runtimes": await _working_runtimes()}
        write_json(kept, told)
    return await asyncio.to_thread(_machine, state, told["runtimes"])


async def _working_runtimes() -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LIST_RUNTIMES, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            said, _ = await process.communicate()
        return dict(json.loads(said))
    except (TimeoutError, ValueError):
        return {}


def _installed() -> dict[str, str]:
    found = {}
    for name in _RUNTIMES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def free_disk_bytes(folder: Path) -> int:
    """Returns what is free where the state lies."""
    return shutil.disk_usage(folder).free


def _machine(state: Path, runtimes: Mapping[str, str]) -> Capabilities:
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.partition(":")[0].strip().lower() in {"flags", "features"}:
            flags = set(line.partition(":")[2].split())
            break
    return Capabilities(
        arch=platform.machine(),
        cpu_flags=tuple(flag for flag in _USEFUL_FLAGS if flag in flags),
        runtimes=runtimes,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        disk_bytes=shutil.disk_usage(state).total,
    )


def _parts(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        digits = "".join(character for character in part if character.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
