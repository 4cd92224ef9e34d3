#!/usr/bin/env bash
# Which output size does SCALE-Sim give a layer with a stride?
#
# Guess:   floor((input - kernel) / stride) + 1 in both directions, as every framework has it for sizes that
#          already contain the padding.
# Really:  it rounds up: ceil((input - kernel + stride) / stride). A 1x1 convolution of stride 2 on 8x8 makes 4x4
#          words; SCALE-Sim simulates 5x5, reading beyond the map, and counts 56 % more output words. No way of
#          adding padding cures it. An input of (output - 1) * stride + kernel, here 7x7, gives the true 4x4.
# Seen in: scalesim 3.0.0 with numpy 2.3.5 (its first layer raises with numpy 2.4), Python 3.11.
# Why it matters here: DRAM words by layer are what a compression ratio divides. With a framework's sizes the maps
#          that are written by strided layers (the shortcuts and stage heads of ResNets) are all too large.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet scalesim==3.0.0 numpy==2.3.5
cd "$work"
cat >layers.csv <<'CSV'
Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Filters, Stride,
framework, 8, 8, 1, 1, 4, 8, 2,
exact, 7, 7, 1, 1, 4, 8, 2,
stride_1, 8, 8, 3, 3, 4, 8, 1,
CSV
cat >array.cfg <<'CFG'
[general]
run_name = run
[architecture_presets]
ArrayHeight: 8
ArrayWidth: 8
IfmapSramSzkB: 8
FilterSramSzkB: 8
OfmapSramSzkB: 8
IfmapOffset: 0
FilterOffset: 1000000
OfmapOffset: 2000000
Bandwidth: 10
Dataflow: os
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
CFG
venv/bin/python -m scalesim.scale -c array.cfg -t layers.csv -l layers.csv -p out >log 2>&1 || { tail log; exit 1; }
venv/bin/python - <<'PYTHON' | tee seen
import csv

with open("out/run/DETAILED_ACCESS_REPORT.csv", newline="") as file:
    rows = list(csv.DictReader(file, skipinitialspace=True))
for name, true_size, row in zip(("framework", "exact", "stride_1"), (4, 4, 6), rows, strict=True):
    words = int(float(row["DRAM OFMAP Writes"]))
    print(f"{name}: {words} output words, {words // 8} to a channel, where {true_size}x{true_size} are {true_size**2}")
PYTHON
diff - seen <<'SEEN'
framework: 200 output words, 25 to a channel, where 4x4 are 16
exact: 128 output words, 16 to a channel, where 4x4 are 16
stride_1: 288 output words, 36 to a channel, where 6x6 are 36
SEEN
echo 'The finding still holds.'
