"""Which GPUs other programs use: measured, since the controller only knows of its own runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from lodeworks_worker.control_plane import Gpu

_MIB = 1 << 20
_TIMEOUT_S = 10.0
_FIELDS = 2
_KEPT_S = 3.0

Measure = Callable[[], Awaitable[Mapping[str, int]]]
"""Returns the memory in use of each GPU, in bytes, by uuid."""


class GpuUse:
    """Remembers a measurement for a few seconds.

    Args:
        measure: Measures.
        free_below_bytes: A GPU with more memory in use is not really free; drivers and displays take a little.
        now_s: Returns the present moment of a clock that only goes on.
    """

    def __init__(self, measure: Measure, *, free_below_bytes: int, now_s: Callable[[], float]) -> None:
        self._measure = measure
        self._free_below_bytes = free_below_bytes
        self._now_s = now_s
        self._measured: Mapping[str, int] = {}
        self._until_s = float("-inf")

    async def used(self, uuids: Sequence[str]) -> list[str]:
        """Returns those whose memory somebody uses; none where the machine has none of them."""
        if not uuids:
            return []
        if self._now_s() >= self._until_s:
            self._measured = await self._measure()
            self._until_s = self._now_s() + _KEPT_S
        return [uuid for uuid in uuids if self._measured.get(uuid, 0) > self._free_below_bytes]


async def nvidia_use() -> dict[str, int]:
    """Asks nvidia-smi; nothing where there is no such program."""
    try:
        process = await asyncio.create_subprocess_exec(
            "nvidia-smi",
            "--query-gpu=uuid,memory.used",
            "--format=csv,noheader,nounits",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_TIMEOUT_S):
            out, _ = await process.communicate()
    except (OSError, TimeoutError):
        return {}
    return parse_use(out.decode(errors="replace")) if process.returncode == 0 else {}


def parse_use(text: str) -> dict[str, int]:
    """Reads the answer of nvidia-smi; a line that is none of a GPU is passed over."""
    found = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == _FIELDS and parts[1].isdigit():
            found[parts[0]] = int(parts[1]) * _MIB
    return found


def measured(fake: Sequence[Gpu], *, real: bool) -> Measure:
    """Returns how this machine's GPUs are measured: fake ones use what their configuration says."""

    async def measure() -> dict[str, int]:
        use = await nvidia_use() if real else {}
        return {**use, **{gpu.uuid: gpu.used_bytes for gpu in fake}}

    return measure
