"""Extended Bit-Plane Compression (EBPC) for PyTorch: lossless compression of feature maps.

Cavigelli & Benini, AICAS 2019; Cavigelli, Rutishauser & Benini, JETCAS 2019.
"""

import importlib
from typing import TYPE_CHECKING, Any

from torch_ebpc import _library
from torch_ebpc._library import __version__

_library.load()

from torch_ebpc import _batching_rules  # noqa: E402, F401
from torch_ebpc.config import kernel, kernels, show_config, use_kernel  # noqa: E402
from torch_ebpc.errors import (  # noqa: E402
    EBPCChecksumError,
    EBPCError,
    EBPCFormatError,
    EBPCLimitError,
)
from torch_ebpc.files import map_file, read_file, whole_file, write_file  # noqa: E402
from torch_ebpc.layer_row import LayerRow  # noqa: E402
from torch_ebpc.meter import CompressionMeter  # noqa: E402
from torch_ebpc.nested import pack, unpack  # noqa: E402
from torch_ebpc.ops import (  # noqa: E402
    CodingCount,
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
from torch_ebpc.partial import RecoveredTensor, max_compressed_bytes, recover  # noqa: E402
from torch_ebpc.quantizer import FloatCast, Quantizer  # noqa: E402
from torch_ebpc.report import Report  # noqa: E402
from torch_ebpc.saved_report import SavedReport, SavedRow  # noqa: E402
from torch_ebpc.saved_tensors import save_compressed  # noqa: E402
from torch_ebpc.statistics import SymbolStatistics, symbol_statistics  # noqa: E402
from torch_ebpc.stream import ContainerDecoder, ContainerEncoder  # noqa: E402
from torch_ebpc.taps import Tap, Taps  # noqa: E402

if TYPE_CHECKING:
    from torch_ebpc import distributed, hardware


def __getattr__(name: str) -> Any:
    """Imports what most programs do not use when it is first asked for."""
    if name in ("distributed", "hardware"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "CodingCount",
    "CompressionMeter",
    "ContainerDecoder",
    "ContainerEncoder",
    "ContainerInfo",
    "EBPCChecksumError",
    "EBPCError",
    "EBPCFormatError",
    "EBPCLimitError",
    "EncodedStreams",
    "FloatCast",
    "LayerRow",
    "Quantizer",
    "RecoveredTensor",
    "Report",
    "SavedReport",
    "SavedRow",
    "SymbolStatistics",
    "Tap",
    "Taps",
    "__version__",
    "compress",
    "count_bits",
    "count_transmission_bits",
    "decode",
    "decompress",
    "distributed",
    "encode",
    "hardware",
    "inspect",
    "kernel",
    "kernels",
    "map_file",
    "max_compressed_bytes",
    "pack",
    "read_file",
    "recover",
    "save_compressed",
    "show_config",
    "symbol_statistics",
    "unpack",
    "use_kernel",
    "whole_file",
    "write_file",
]
