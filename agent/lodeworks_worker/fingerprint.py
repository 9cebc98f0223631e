"""What this machine is: processors, memory, disk, GPUs; and how it is at the moment."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from lodeworks_worker.control_plane import Fingerprint, Gpu, Health
from lodeworks_worker.drivers.base import Capabilities

_MIB = 1 << 20
_NVIDIA_TIMEOUT_S = 20.0
_NVIDIA_FIELDS = 3


async def nvidia_gpus() -> tuple[Gpu, ...]:
    """Asks nvidia-smi for the GPUs; none where there is no such program."""
    try:
        process = await asyncio.create_subprocess_exec(
            "nvidia-smi",
            "--query-gpu=uuid,name,memory.total",
            "--format=csv,noheader,nounits",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_NVIDIA_TIMEOUT_S):
            out, _ = await process.communicate()
    except (OSError, TimeoutError):
        return ()
    return parse_nvidia(out.decode(errors="replace")) if process.returncode == 0 else ()


def parse_nvidia(text: str) -> tuple[Gpu, ...]:
    """Reads the answer of nvidia-smi; a line that is none of a GPU is passed over."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == _NVIDIA_FIELDS and parts[0].startswith(("GPU-", "MIG-")) and parts[2].isdigit():
            found.append(Gpu(uuid=parts[0], model=parts[1], memory_bytes=int(parts[2]) * _MIB))
    return tuple(found)


def take(
    *,
    folder: Path,
    gpus: Sequence[Gpu],
    drivers: Sequence[Capabilities],
    programs: Sequence[str],
    missing: Mapping[str, str],
    labels: Mapping[str, str],
    max_runs: int,
) -> Fingerprint:
    """Returns the fingerprint of this machine. Capabilities are `driver:<name>` and what the programs are."""
    here = [f"driver:{one.name}" for one in drivers if one.unavailable is None]
    absent = {f"driver:{one.name}": one.unavailable for one in drivers if one.unavailable is not None}
    return Fingerprint(
        gpus=tuple(gpus),
        cpus=float(len(os.sched_getaffinity(0))),
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=psutil.disk_usage(str(folder)).free,
        capabilities=tuple(sorted([*here, *programs])),
        labels=dict(labels),
        missing={**missing, **absent},
        max_runs=max_runs,
    )


def health(folder: Path) -> Health:
    """Returns how the machine is since the last time that this was asked."""
    return Health(
        cpu_load=psutil.cpu_percent(None) / 100.0,
        memory_used_bytes=psutil.virtual_memory().used,
        disk_free_bytes=psutil.disk_usage(str(folder)).free,
    )
