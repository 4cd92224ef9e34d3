"""ONNX: the integers and zero points of a quantized (QDQ) file.

Needs: pip install onnx onnxruntime
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

import torch_ebpc

folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
images = rng.uniform(-1, 1, (4, 3, 32, 32)).astype(np.float32)


def float_model(path):
    """Two convolutions with ReLU; any exporter's file will do."""
    weights = [
        rng.normal(0, 0.2, shape).astype(np.float32) for shape in ((16, 3, 3, 3), (8, 16, 3, 3))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"]),
        helper.make_node("Relu", ["c1"], ["r1"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, images.shape)],
        [helper.make_tensor_value_info("r1", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )


class Images(CalibrationDataReader):
    def __init__(self):
        self.batches = iter([{"x": images}])

    def get_next(self):
        return next(self.batches, None)


float_model(folder / "float.onnx")
quantize_static(
    folder / "float.onnx", folder / "qdq.onnx", Images(), activation_type=QuantType.QInt8
)

# Every QuantizeLinear's output becomes an output of the graph; its third input is the zero point.
model = onnx.load(folder / "qdq.onnx")
constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
zeros = {
    node.output[0]: int(constants[node.input[2]])
    for node in model.graph.node
    if node.op_type == "QuantizeLinear" and node.input[0] not in constants
}
model.graph.output.extend(
    helper.make_tensor_value_info(name, TensorProto.INT8, None) for name in zeros
)
options = onnxruntime.SessionOptions()  # without optimizing, or the nodes are fused away
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(model.SerializeToString(), options)
for name, words in zip(zeros, session.run(list(zeros), {"x": images}), strict=True):
    words = torch.from_numpy(words)
    ratio = 8 * words.numel() / torch_ebpc.count_bits(words, zero=zeros[name])
    packed = torch_ebpc.compress(words, zero=zeros[name])
    assert torch.equal(torch_ebpc.decompress(packed), words)
    print(f"{name:30} zero point {zeros[name]:4}: ratio {ratio:.2f}")
assert len(zeros) >= 2
