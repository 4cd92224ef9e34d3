"""The published figures that ours are compared with, each with its source.

"Text" is what a paper says; "plot" was read off the plots of the authors' released notebook, to
about 0.03 (gradients 0.1). A ratio is uncompressed / compressed, against words of the stated type.
"""

from __future__ import annotations

import dataclasses

AICAS_ABSTRACT = "AICAS 2019, abstract (arXiv 1810.03979)"
JETCAS_CONCLUSION = "JETCAS 2019, conclusion (arXiv 1908.11645)"
JETCAS_FIGURE_3B = "JETCAS 2019, figure 3b"
PLOT = "released notebook, plot"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of a paper about ResNet-34's mean ratio."""

    name: str
    text: str
    source: str
    ratio: float
    gain_percent: int  # over the best of the methods in `over`
    over: tuple[str, ...]


CLAIMS = (
    Claim(
        "4.4, +60 %",
        "an average compression ratio of 4.4 relative to uncompressed data and a gain of 60 % over"
        " existing methods",
        AICAS_ABSTRACT,
        4.4,
        60,
        ("zvc", "zero_rle", "bpc"),
    ),
    Claim(
        "2.4, +33 %",
        "ResNet-34, 8 bit, all ReLU maps: 2.4, 33 % above the best of zero-RLE, ZVC and BPC",
        JETCAS_CONCLUSION,
        2.4,
        33,
        ("zvc", "zero_rle", "bpc"),
    ),
)

# ResNet-34 by type: N = 8, base sent, longest zero run 16 (plot).
BY_TYPE: dict[str, dict[str, float]] = {
    "ebpc": {"fixed8": 2.13, "fixed12": 1.85, "fixed16": 1.78, "float16": 1.56},
    "bpc": {"fixed8": 1.78, "fixed12": 1.48, "fixed16": 1.38, "float16": 1.19},
    "zvc": {"fixed8": 1.57, "fixed12": 1.55, "fixed16": 1.60, "float16": 1.59},
    "zero_rle": {"fixed8": 1.56, "fixed12": 1.55, "fixed16": 1.59, "float16": 1.59},
}

# Averages of the released ResNet-34 data, 8 bit, EBPC.
RELEASED_AVERAGES = {
    "ratio of sums": 2.13,
    "size-weighted mean of layer ratios": 2.50,
    "plain mean of layer ratios": 2.99,
    "best layer": 7.1,
}

# ResNet-34, 8 bit, EBPC: the median over images of ReLU calls 1 to 33 (plot).
CALL_MEDIANS = (
    2.20, 2.22, 1.60, 2.16, 1.42, 2.83, 1.40, 2.13, 1.81, 2.79, 1.79, 3.97, 1.77, 5.05, 1.65, 2.44,
    2.01, 3.89, 1.97, 5.46, 2.03, 6.15, 2.01, 7.13, 2.28, 5.69, 2.81, 3.97, 2.64, 4.52, 2.44, 4.13,
    2.38,
)  # fmt: skip

# Other networks, 8 bit, EBPC (plot).
NETWORKS = {"squeezenet1_1": 2.52, "mobilenet_v2": 1.95}

# Gradient maps of ResNet-34 (plot, to about 0.1).
GRADIENTS: dict[str, dict[str, float]] = {
    "ebpc": {"fixed16": 2.45, "float16": 1.95},
    "zvc": {"fixed16": 2.05, "float16": 2.0},
    "bpc": {"fixed16": 1.6, "float16": 1.3},
}

# Bit planes by symbol, ResNet-34, 8 bit, in per cent of the 9 planes of 1.25 million blocks (JETCAS
# 2019, figure 3b); the zero planes are in 1.2 million runs.
SYMBOL_PLANES = {
    name: 100 * millions / (9 * 1.25)
    for name, millions in (
        ("uncompressed", 5.1), ("zero", 5.4), ("single one", 0.5), ("two adjacent ones", 0.2),
    )
}  # fmt: skip
