import pytest
import torch
from lodeworks_detector.devices import choose_device, choose_precision
from lodeworks_executor import BadSettingError, ErrorCode, ExecutorError

CPU = torch.device("cpu")


def test_no_gpu_means_the_cpu():
    assert choose_device([]) == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(ExecutorError) as caught:
        choose_device([0])
    assert caught.value.code in {ErrorCode.NO_GPU, ErrorCode.CUDA_MISMATCH}


def test_precision_is_as_asked_or_what_suits():
    assert choose_precision("float32", device=CPU) == torch.float32
    assert choose_precision("auto", device=CPU) in {torch.float32, torch.bfloat16}
    with pytest.raises(BadSettingError, match="needs a GPU"):
        choose_precision("float16", device=CPU)
