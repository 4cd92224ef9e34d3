#!/usr/bin/env bash
# What does an HDF5 dataset of bfloat16 hold after float32 values were written into it?
#
# Guess:   the values, rounded, as in a dataset of float16; or there is an error.
# Really:  neither. h5py takes the type for two opaque bytes and stores the first two bytes of each float32: the low
#          half of its mantissa. 1.0 becomes 0, 0.1 becomes -1.1e8; integers go in as their low bytes. There is no
#          error and no warning. Values that are bfloat16 already are kept, but read as void: .view(bfloat16) is
#          needed. float8_e4m3fn is the same, and float8_e5m2 is refused, as is create_dataset(data=float32, dtype=
#          bfloat16), which writes in one step what the above writes in two.
# Seen in: h5py 3.16.0 with ml_dtypes 0.7.0, numpy 2.4.6, Python 3.11 (or newer), on a little-endian CPU. That the
#          type is opaque to h5py is known (https://github.com/keras-team/keras/pull/19091), the rest was not found.
# Why it matters here: activations are collected like that, batch by batch into a dataset that was made beforehand.
#          What arrives is zeros, which look wonderfully sparse, for values that bfloat16 has, and noise for others.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet h5py==3.16.0 ml_dtypes==0.7.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import h5py
import ml_dtypes
import numpy as np

values = np.array([0, 1, -2, 0.1, 2 / 3], np.float32)
with h5py.File("maps.h5", "w", driver="core", backing_store=False) as file:
    for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2):
        name = np.dtype(dtype).name
        try:
            maps = file.create_dataset(name, values.shape, dtype=dtype)
        except TypeError as error:
            print(f"{name}: {error}")
            continue
        for written in (values, np.arange(5), values.astype(dtype)):
            maps[:] = written
            read = " ".join(f"{value:.3g}" for value in maps[:].view(dtype).astype(np.float32))
            print(f"{name}, written as {written.dtype}: read as {maps[:].dtype}, {read}")
    try:
        file.create_dataset("in one step", data=values, dtype=ml_dtypes.bfloat16)
    except OSError as error:
        print(f"in one step: {error}")
PYTHON
diff - "$work/seen" <<'SEEN'
float16, written as float32: read as float16, 0 1 -2 0.1 0.667
float16, written as int64: read as float16, 0 1 2 3 4
float16, written as float16: read as float16, 0 1 -2 0.1 0.667
bfloat16, written as float32: read as |V2, 0 0 0 -1.07e+08 -3.04e-13
bfloat16, written as int64: read as |V2, 0 9.18e-41 1.84e-40 2.76e-40 3.67e-40
bfloat16, written as bfloat16: read as |V2, 0 1 -2 0.1 0.668
float8_e4m3fn, written as float32: read as |V1, 0 0 0 -6.5 -0.344
float8_e4m3fn, written as int64: read as |V1, 0 0.00195 0.00391 0.00586 0.00781
float8_e4m3fn, written as float8_e4m3fn: read as |V1, 0 1 -2 0.102 0.688
float8_e5m2: Unsupported float type (float8_e5m2)
in one step: Can't synchronously write data (no appropriate function for conversion path)
SEEN
echo 'The finding still holds.'
