"""Where and how precisely to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from lodeworks_executor import BadSettingError, ErrorCode, ExecutorError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(gpu_ids: Sequence[int], *, index: int = 0) -> torch.device:
    """Returns the GPU of the process `index` among those that were given to the run, else the CPU.

    Raises:
        ExecutorError: a GPU was given but cannot be seen (codes NO_GPU, CUDA_MISMATCH).
    """
    if not gpu_ids:
        return torch.device("cpu")
    if torch.version.cuda is None:
        raise ExecutorError("this torch has no CUDA; install one that has, or run without GPUs", code=ErrorCode.NO_GPU)
    if not torch.cuda.is_available():
        raise ExecutorError("CUDA sees no GPU; is the driver as new as this torch?", code=ErrorCode.CUDA_MISMATCH)
    if gpu_ids[index] >= torch.cuda.device_count():
        raise ExecutorError(f"there is no GPU {gpu_ids[index]} in this run", code=ErrorCode.NO_GPU)
    return torch.device("cuda", gpu_ids[index])


def choose_precision(wanted: str, *, device: torch.device) -> torch.dtype:
    """Returns the type to compute with; auto is bfloat16 where the hardware has it, float16 on other GPUs."""
    if wanted != "auto":
        if wanted == "float16" and device.type == "cpu":
            raise BadSettingError("precision", "float16 needs a GPU; use bfloat16, float32 or auto")
        return _PRECISIONS[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    # Without the instructions bfloat16 is emulated, several times slower than float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001
