#!/usr/bin/env bash
# Which byte is a scale of float8_e8m0fnu, the type of a block's scale in the MX formats?
#
# Guess:   any library rounds a float32 to the same power of two, and a zero, which the type does not have, is an
#          error or NaN everywhere.
# Really:  2.5 is 2 for PyTorch and ml_dtypes, 4 for ONNX (its Cast rounds up unless told). 0 is 2**-127 (byte 0)
#          for PyTorch and ONNX, NaN (byte 255) for ml_dtypes; yet numpy.zeros of ml_dtypes' type has bytes 0.
#          -1 is 1 for PyTorch and ONNX, NaN for ml_dtypes. PyTorch says that torch.zeros == 0 is True, while the
#          same tensor as float32 is 5.9e-39 and not 0; NumPy says False.
# Seen in: torch 2.13.0, ml_dtypes 0.6.0, onnx 1.23.2, numpy 2.4.6, Python 3.11 (or newer).
# Why it matters here: a ReLU map has whole blocks of zeros, whose scale is computed from a largest value of 0.
#          That scale is tiny in two libraries and NaN in the third, where the block decodes to NaN; counts of zero
#          words in scale tensors depend on who counts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0 ml_dtypes==0.6.0 onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'PYTHON' | tee "$work/seen"
import ml_dtypes
import numpy as np
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

values = np.array([1, 2.5, 3, 0, -1], np.float32)
graph = helper.make_graph(
    [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E8M0)],
    "cast",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [len(values)])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT8E8M0, [len(values)])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])
print("values", values.tolist())
print("torch", torch.from_numpy(values).to(torch.float8_e8m0fnu).view(torch.uint8).tolist())
print("ml_dtypes", values.astype(ml_dtypes.float8_e8m0fnu).view(np.uint8).tolist())
print("onnx", ReferenceEvaluator(model).run(None, {"x": values})[0].view(np.uint8).tolist())
scales = torch.zeros(1, dtype=torch.float8_e8m0fnu)
print("torch.zeros: byte", scales.view(torch.uint8).item(), "== 0", (scales == 0).item(), "as float32 == 0", (scales.float() == 0).item())
scales = np.zeros(1, ml_dtypes.float8_e8m0fnu)
print("numpy.zeros: byte", scales.view(np.uint8).item(), "== 0", (scales == 0).item(), "as float32 == 0", (scales.astype(np.float32) == 0).item())
PYTHON
diff - "$work/seen" <<'SEEN'
values [1.0, 2.5, 3.0, 0.0, -1.0]
torch [127, 128, 129, 0, 127]
ml_dtypes [127, 128, 129, 255, 255]
onnx [127, 129, 129, 0, 127]
torch.zeros: byte 0 == 0 True as float32 == 0 False
numpy.zeros: byte 0 == 0 False as float32 == 0 False
SEEN
echo 'The finding still holds.'
