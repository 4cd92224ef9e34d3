"""Extended Bit-Plane Compression (EBPC) for PyTorch: lossless compression of feature maps.

Cavigelli & Benini, AICAS 2019; Cavigelli, Rutishauser & Benini, JETCAS 2019.
"""

import importlib
from typing import TYPE_CHECKING, Any

from torch_ebpc import _library
from torch_ebpc._library import __version__, cmake_prefix_path

_library.load()

from torch_ebpc import _batching_rules, _fake_kernels  # noqa: E402, F401
from torch_ebpc.code import Code  # noqa: E402
from torch_ebpc.config import kernel, kernels, show_config, use_kernel  # noqa: E402
from torch_ebpc.container import (  # noqa: E402
    CodingCount,
    Container,
    ContainerInfo,
    RecoveredTensor,
    inspect,
    max_compressed_bytes,
    recover,
)
from torch_ebpc.errors import (  # noqa: E402
    EBPCChecksumError,
    EBPCError,
    EBPCFormatError,
    EBPCLimitError,
)
from torch_ebpc.files import map_file, read_file, whole_file, write_file  # noqa: E402
from torch_ebpc.insertion import (  # noqa: E402
    compression_report,
    insert_compression,
    reset_compression,
)
from torch_ebpc.layer_row import LayerRow  # noqa: E402
from torch_ebpc.meter import CompressionMeter  # noqa: E402
from torch_ebpc.nested import pack, unpack  # noqa: E402
from torch_ebpc.ops import (  # noqa: E402
    EncodedStreams,
    compress,
    count_bits,
    count_transmission_bits,
    decode,
    decompress,
    encode,
)
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
    "Code",
    "CodingCount",
    "CompressionMeter",
    "Container",
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
    "cmake_prefix_path",
    "compress",
    "compression_report",
    "count_bits",
    "count_transmission_bits",
    "decode",
    "decompress",
    "distributed",
    "encode",
    "hardware",
    "insert_compression",
    "inspect",
    "kernel",
    "kernels",
    "map_file",
    "max_compressed_bytes",
    "pack",
    "read_file",
    "recover",
    "reset_compression",
    "save_compressed",
    "show_config",
    "symbol_statistics",
    "unpack",
    "use_kernel",
    "whole_file",
    "write_file",
]
