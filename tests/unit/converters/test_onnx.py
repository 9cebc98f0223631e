import numpy as np
import onnx
import pytest
from lodeworks_converters import Attempt, ConversionError, ConverterUnavailableError
from lodeworks_converters.onnx_graph import after_heads, convolutions, input_shape, simplified
from lodeworks_converters.onnx_target import OnnxConverter, worst_layers
from lodeworks_converters.tensorrt_lint import lint
from lodeworks_converters.tensorrt_target import TensorrtConverter
from lodeworks_runtime import load_onnx
from made_network import SIZE, made_picture, model_info, save_network


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("model") / "made.onnx")


@pytest.fixture(scope="module")
def inputs(model):
    algorithm = load_onnx(model)
    return [algorithm.prepare(made_picture(seed, count=4)[0])[0] for seed in range(8)]


@pytest.fixture(scope="module")
def quantized(model, inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8")
    OnnxConverter().convert(model, attempt=Attempt("int8"), calibration=inputs, out=out)
    return out / "model.onnx"


def test_the_graph_is_read(model):
    graph = simplified(model)
    assert input_shape(graph) == ("images", (3, *SIZE))
    assert [node.output[0] for node in convolutions(graph)] == ["c1", "c2", "c3", "logits", "sides"]
    decoding = {node.op_type for node in graph.graph.node if node.name in after_heads(graph)}
    assert decoding == {"Reshape", "Transpose", "Sigmoid", "Softplus", "Mul", "Add", "ReduceMean"}


def test_fp32_keeps_answer_and_description(model, inputs, tmp_path):
    artifact = OnnxConverter().convert(model, attempt=Attempt("fp32"), calibration=[], out=tmp_path)
    assert artifact.runtime.name == "onnxruntime"
    assert artifact.outputs == ("scores", "boxes", "embedding")
    one, other = load_onnx(model), load_onnx(tmp_path / "model.onnx")
    assert one.classes == other.classes
    for blob in inputs:
        assert np.abs(one.run_input(blob).scores - other.run_input(blob).scores).max() < 1e-5


def test_int8_quantizes_the_convolutions_and_not_the_decoding(model, quantized, inputs):
    graph = onnx.load(str(quantized))
    producers = {name: node for node in graph.graph.node for name in node.output}
    for conv in convolutions(graph):
        assert producers[conv.input[0]].op_type == "DequantizeLinear"
        assert producers[conv.input[1]].op_type == "DequantizeLinear"
    for node in graph.graph.node:
        if node.op_type in {"Sigmoid", "Softplus", "Add", "Mul"}:
            kinds = {producers[name].op_type for name in node.input if name in producers}
            assert "DequantizeLinear" not in kinds, node.name
    one, other = load_onnx(model), load_onnx(quantized, model_info=model_info())
    for blob in inputs:
        assert np.abs(one.run_input(blob).scores - other.run_input(blob).scores).max() < 0.2


def test_layers_that_are_named_stay_float_with_what_feeds_them(model, inputs, tmp_path):
    attempt = Attempt("int8", keep_float=("/logits/Conv",))
    OnnxConverter().convert(model, attempt=attempt, calibration=inputs, out=tmp_path)
    graph = onnx.load(str(tmp_path / "model.onnx"))
    producers = {name: node for node in graph.graph.node for name in node.output}
    plain = [conv.name for conv in convolutions(graph) if conv.input[1] not in producers]
    assert plain == ["/c3/Conv", "/logits/Conv"]


def test_percentile_calibration_gives_another_range(model, quantized, inputs, tmp_path):
    attempt = Attempt("int8", calibration="percentile")
    OnnxConverter().convert(model, attempt=attempt, calibration=inputs, out=tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() != quantized.read_bytes()


def test_the_worst_layers_are_ranked(model, quantized, inputs):
    ranking = worst_layers(model, quantized, calibration=inputs)
    assert sorted(ranking) == ["/c1/Conv", "/c2/Conv", "/c3/Conv", "/logits/Conv", "/sides/Conv"]
    assert ranking[0] != "/sides/Conv"  # its weights are zero: nothing is lost there


def test_quantizing_without_pictures_is_refused(model, tmp_path):
    with pytest.raises(ConversionError, match="calibration pictures"):
        OnnxConverter().convert(model, attempt=Attempt("int8"), calibration=[], out=tmp_path)


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"\x00not onnx")
    with pytest.raises(ConversionError, match="broken"):
        OnnxConverter().convert(tmp_path / "broken.onnx", attempt=Attempt("fp32"), calibration=[], out=tmp_path)
    with pytest.raises(ConverterUnavailableError):
        OnnxConverter().convert(tmp_path / "broken.onnx", attempt=Attempt("fp16"), calibration=[], out=tmp_path)


def test_the_tensorrt_form_passes_its_lint(model, inputs, tmp_path):
    artifact = TensorrtConverter().convert(model, attempt=Attempt("int8"), calibration=inputs, out=tmp_path)
    assert [file.path for file in artifact.files] == ["model.onnx", "build.json"]
    assert lint(tmp_path / "model.onnx") == []


def test_the_form_for_cpus_does_not_pass_the_lint_of_tensorrt(quantized, model):
    assert any("not INT8" in problem for problem in lint(quantized))
    assert lint(model) == ["the graph holds no Q/DQ pair at all"]


def test_half_precision_keeps_inputs_and_decoding_float(model, tmp_path):
    TensorrtConverter().convert(model, attempt=Attempt("fp16"), calibration=[], out=tmp_path)
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert {output.type.tensor_type.elem_type for output in graph.output} == {onnx.TensorProto.FLOAT}
    assert any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in graph.initializer)
