"""Which GPUs are really free: what nvidia-smi says, remembered for a moment."""

from collections.abc import Mapping

from lodeworks_worker.control_plane import Gpu
from lodeworks_worker.gpu_use import GpuUse, measured, parse_use

MIB = 1 << 20


def test_the_answer_of_nvidia_smi_is_read() -> None:
    assert parse_use("GPU-1, 81000\nGPU-2, 3\nnonsense\nGPU-3, [N/A]\n") == {"GPU-1": 81000 * MIB, "GPU-2": 3 * MIB}


async def test_a_little_use_counts_as_free_and_a_measurement_is_kept_for_a_moment() -> None:
    now, use, asked = [0.0], {"a": 600 * MIB, "b": 10 * MIB}, [0]

    async def measure() -> Mapping[str, int]:
        asked[0] += 1
        return dict(use)

    gpus = GpuUse(measure, free_below_bytes=512 * MIB, now_s=lambda: now[0])
    assert await gpus.used(["a", "b", "c"]) == ["a"]
    use.clear()
    assert await gpus.used(["a"]) == ["a"]
    now[0] += 10
    assert await gpus.used(["a"]) == []
    assert await gpus.used([]) == []
    assert asked == [2]


async def test_fake_gpus_use_what_their_configuration_says() -> None:
    measure = measured([Gpu("x", used_bytes=7), Gpu("y")], real=False)
    assert await measure() == {"x": 7, "y": 0}
