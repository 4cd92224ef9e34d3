#!/usr/bin/env bash
# What does Pillow make of TIFFs of 16-bit samples that are not the commonest kind?
#
# Guess:   a greyscale file in which 0 is white comes back inverted, as its 8-bit like does, or is refused; one with
#          its colours in separate planes is read or refused.
# Really:  no error in either. Where 0 is white, 16-bit samples come back as they are, so black and white are
#          exchanged; 8-bit ones are inverted. 16-bit planes come back as an 8-bit image of their bytes in a row,
#          low and high byte as two pixels: twice as wide, and the right half of the picture is lost.
# Seen in: Pillow 13.0.0, files by tifffile 2026.3.3, numpy 2.4.6, Python 3.11 (all need 3.11 or newer).
# Why it matters here: feature maps are measured on images. Scanners and microscopes write both kinds; an inverted
#          or shredded image runs through the network, and only the ratios are wrong. tifffile reads both right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import io

import numpy as np
import tifffile
from PIL import Image


def read(samples, **how):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **how)
    file.seek(0)
    assert np.array_equal(tifffile.imread(file), samples)
    file.seek(0)
    image = Image.open(file)
    image.load()
    return image


for dtype in (np.uint8, np.uint16):
    image = read(np.array([[0, 1, 2, 255]], dtype), photometric="miniswhite")
    print(f"0 is white, {np.dtype(dtype)} 0 1 2 255: mode {image.mode}, {np.asarray(image)[0].tolist()}")
for dtype in (np.uint8, np.uint16):
    red = np.array([[10, 20, 30, 40]], dtype)
    if dtype == np.uint16:
        red = red * 257
    image = read(np.stack([red, red + 1, red + 2]), photometric="rgb", planarconfig="separate")
    print(f"planes of {np.dtype(dtype)}, red {red[0].tolist()}: mode {image.mode}, {np.asarray(image)[0, :, 0].tolist()}")
PYTHON
diff - "$work/seen" <<'SEEN'
0 is white, uint8 0 1 2 255: mode L, [255, 254, 253, 0]
0 is white, uint16 0 1 2 255: mode I;16, [0, 1, 2, 255]
planes of uint8, red [10, 20, 30, 40]: mode RGB, [10, 20, 30, 40]
planes of uint16, red [2570, 5140, 7710, 10280]: mode RGB, [10, 10, 20, 20]
SEEN
echo 'The finding still holds.'
