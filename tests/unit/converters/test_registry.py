import json
import subprocess
import sys

import pytest
from lodeworks_converters import Attempt, ConverterUnavailableError, converters, find_converter
from lodeworks_runtime import tensorrt_backend


def test_our_targets_are_there():
    assert {"onnx", "openvino", "tensorrt"} <= set(converters())
    assert find_converter("onnx", precision="int8").target == "onnx"


@pytest.mark.parametrize(
    ("target", "precision", "named"), [("abacus", "fp32", "onnx, openvino"), ("onnx", "fp7", "fp32, int8")]
)
def test_what_is_not_known_is_refused_with_what_is(target, precision, named):
    with pytest.raises(ConverterUnavailableError, match=named) as caught:
        find_converter(target, precision=precision)
    assert caught.value.reason == "CONVERTER_UNAVAILABLE"
    assert caught.value.variant == f"{target}-{precision}"


@pytest.mark.skipif(tensorrt_backend.gpu_count() > 0, reason="this machine has a GPU")
def test_tensorrt_says_why_it_cannot_run_here():
    with pytest.raises(ConverterUnavailableError, match="no NVIDIA GPU answers"):
        find_converter("tensorrt", precision="int8")


def test_listing_the_targets_loads_no_library_of_theirs():
    code = (
        "import sys, json; from lodeworks_converters import converters;"
        "[c.available(p) for c in converters().values() for p in c.precisions];"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert not {"torch", "onnx", "onnxruntime", "openvino", "nncf", "pyarrow"} & set(loaded)


def test_an_attempt_tells_what_it_varies():
    assert Attempt("fp32").label == "fp32"
    assert Attempt("int8").label == "min-max"
    tried = Attempt("int8", calibration="percentile", accurate_bias=True, keep_float=("a", "b"))
    assert tried.label == "percentile, bias correction, 2 layers float"
