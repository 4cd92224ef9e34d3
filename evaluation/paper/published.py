"""The published figures that ours are compared with, each with its source.

"Text" is what a paper says; "plot" was read off the plots of the authors' released notebook, to
about 0.03 (gradients 0.1). A ratio is uncompressed / compressed, against words of the stated type.
"""

from __future__ import annotations

import dataclasses

AICAS_ABSTRACT = "AICAS 2019, abstract (arXiv 1810.03979)"
JETCAS_CONCLUSION = "JETCAS 2019, conclusion (arXiv 1908.11645)"
JETCAS_TABLE_3 = "JETCAS 2019, table III"
JETCAS_FIGURE_3B = "JETCAS 2019, figure 3b"
PLOT = "released notebook, plot"
SAME_MAPS = "8-bit maps of the ResNet-34 stand-in, one machine"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of a paper about ResNet-34's mean ratio."""

    name: str
    text: str
    source: str
    ratio: float
    gain_percent: int  # over the best of the methods in `over`
    over: tuple[str, ...]
    left_open: str


CLAIMS = (
    Claim(
        "4.4, +60 %",
        "an average compression ratio of 4.4 relative to uncompressed data and a gain of 60 % over"
        " existing methods",
        AICAS_ABSTRACT,
        4.4,
        60,
        ("zvc", "zero_rle", "bpc"),
        "type, block size, averaging and baseline are not stated",
    ),
    Claim(
        "2.4, +33 %",
        "ResNet-34, 8 bit, all ReLU maps: 2.4, 33 % above the best of zero-RLE, ZVC and BPC",
        JETCAS_CONCLUSION,
        2.4,
        33,
        ("zvc", "zero_rle", "bpc"),
        "block size, base and averaging are not stated there",
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


@dataclasses.dataclass(frozen=True)
class NetworkFigures:
    """One network at 8 bit, EBPC: JETCAS's conclusion, and what the plot shows."""

    jetcas: float
    jetcas_gain_percent: int
    plot: float
    plot_best_baseline: float


NETWORKS: dict[str, NetworkFigures] = {
    "alexnet": NetworkFigures(5.1, 46, 4.65, 3.53),
    "vgg16": NetworkFigures(4.0, 67, 3.53, 2.41),
    "resnet34": NetworkFigures(2.4, 33, 2.13, 1.78),
    "squeezenet1_1": NetworkFigures(2.8, 51, 2.52, 1.93),
    "mobilenet_v2": NetworkFigures(2.2, 30, 1.95, 1.70),
}

# AlexNet by bits of fixed point (JETCAS 2019, table III); zero-RLE with runs of up to 16.
ALEXNET_SPARSITY: dict[str, dict[int, float]] = {
    "zvc": {8: 2.52, 16: 3.00, 32: 3.30},
    "zero_rle": {8: 2.63, 16: 3.07, 32: 3.35},
}

# Gradient maps of ResNet-34 (plot, to about 0.1).
GRADIENTS: dict[str, dict[str, float]] = {
    "ebpc": {"fixed16": 2.45, "float16": 1.95},
    "zvc": {"fixed16": 2.05, "float16": 2.0},
    "bpc": {"fixed16": 1.6, "float16": 1.3},
}

# Bit planes by symbol, ResNet-34, 8 bit, 1.25 million blocks (JETCAS 2019, figure 3b). Millions.
SYMBOL_BLOCKS = 1.25
SYMBOL_PLANES: dict[str, float] = {
    "uncompressed": 5.1,
    "zero planes (in 1.2 million runs)": 5.4,
    "single one": 0.5,
    "two adjacent ones": 0.2,
}

# Software compressors and EBPC on the same words.
SOFTWARE: dict[str, float] = {
    "entropy": 2.375,
    "zstd-1": 3.02,
    "blosc2-bitshuffle-zstd": 3.00,
    "blosc2-bitshuffle-lz4": 2.28,
    "lz4": 1.82,
    "ebpc": 2.2,
}
