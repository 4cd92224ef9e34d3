#!/usr/bin/env bash
# Is LERC with a maximum error of 0 lossless?
#
# Guess:   yes, for float32 to the bit, as it is described as lossless at a maximum error of 0.
# Really:  by value only. A block of 8x8 zeros of both signs comes back with one sign; a block that holds another
#          value as well keeps them, so it depends on the neighbours. A NaN is taken as "no data", kept apart in a
#          mask, and the decoded array has 0 in its place: no NaN is left in it.
# Seen in: pylerc 4.2.0 with numpy 2.4.6, Python 3.11 (both need 3.11 or newer).
# Why it matters here: masks by multiplication (dropout, pruning, x * mask) leave about as many -0.0 as +0.0, so
#          sparse feature maps are made of just such blocks. LERC (also as a TIFF and Zarr codec) cannot stand
#          beside bit-exact compressors in a table, and a check by == does not notice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet pylerc==4.2.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import lerc
import numpy as np


def through_lerc(values):
    status, size, buffer = lerc.encode(values, 1, False, None, 0.0, 8192)
    assert status == 0
    status, decoded, *_ = lerc.decode(bytes(buffer)[:size])
    assert status == 0
    return decoded


zeros = np.zeros((16, 16), np.float32)
zeros[::2] = -0.0
beside_values = zeros.copy()
beside_values[::8, ::8] = np.linspace(1.1, 1.7, 4, dtype=np.float32).reshape(2, 2)
with_nan = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
with_nan.view(np.uint32)[3, 3] = 0x7FC00001
for name, values in {"zeros": zeros, "zeros beside values": beside_values, "NaN": with_nan}.items():
    decoded = through_lerc(values)
    same = np.count_nonzero(values.view(np.uint32) == decoded.view(np.uint32))
    equal = np.array_equal(values, decoded, equal_nan=True)
    print(f"{name}: equal by value {equal}, {same} of {values.size} words the same")
    print(f"  negative {np.signbit(values).sum()} -> {np.signbit(decoded).sum()}, [3, 3] {decoded[3, 3]:.3g}")
PYTHON
diff - "$work/seen" <<'SEEN'
zeros: equal by value True, 128 of 256 words the same
  negative 128 -> 256, [3, 3] -0
zeros beside values: equal by value True, 256 of 256 words the same
  negative 124 -> 124, [3, 3] 0
NaN: equal by value False, 255 of 256 words the same
  negative 130 -> 130, [3, 3] 0
SEEN
echo 'The finding still holds.'
