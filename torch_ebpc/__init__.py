"""Extended Bit-Plane Compression (EBPC) for PyTorch: lossless compression of feature maps.

Cavigelli & Benini, AICAS 2019; Cavigelli, Rutishauser & Benini, JETCAS 2019.
"""

from torch_ebpc import _library
from torch_ebpc._library import __version__

_library.load()

from torch_ebpc import hardware  # noqa: E402
from torch_ebpc.config import kernel, kernels, show_config, use_kernel  # noqa: E402
from torch_ebpc.errors import EBPCChecksumError, EBPCError, EBPCFormatError  # noqa: E402
from torch_ebpc.layer_row import LayerRow  # noqa: E402
from torch_ebpc.meter import CompressionMeter  # noqa: E402
from torch_ebpc.ops import (  # noqa: E402
    ContainerInfo,
    EncodedStreams,
    compress,
    count_bits,
    count_transmission_bits,
    decode,
    decompress,
    encode,
    inspect,
)
from torch_ebpc.quantizer import FloatCast, Quantizer  # noqa: E402
from torch_ebpc.report import Report  # noqa: E402
from torch_ebpc.statistics import SymbolStatistics, symbol_statistics  # noqa: E402
from torch_ebpc.taps import Tap, Taps  # noqa: E402

__all__ = [
    "CompressionMeter",
    "ContainerInfo",
    "EBPCChecksumError",
    "EBPCError",
    "EBPCFormatError",
    "EncodedStreams",
    "FloatCast",
    "LayerRow",
    "Quantizer",
    "Report",
    "SymbolStatistics",
    "Tap",
    "Taps",
    "__version__",
    "compress",
    "count_bits",
    "count_transmission_bits",
    "decode",
    "decompress",
    "encode",
    "hardware",
    "inspect",
    "kernel",
    "kernels",
    "show_config",
    "symbol_statistics",
    "use_kernel",
]
