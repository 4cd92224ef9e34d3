"""Ways to compress a tensor on a CPU, all with the same two calls: ours, and well-known software
compressors to compare with."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import blosc2
import lz4.block
import numpy
import torch
import zstandard
from torch import Tensor

import torch_ebpc


@dataclasses.dataclass(frozen=True)
class Compressor:
    """Compresses tensors of any dtype that torch_ebpc takes, losslessly."""

    name: str
    compress: Callable[[Tensor], Any]
    decompress: Callable[[Any, Tensor], Tensor]  # the second: a tensor of the same dtype and shape

    def packed_bytes(self, x: Tensor) -> int:
        return size_of(self.compress(x))


def size_of(packed: Any) -> int:
    """Bytes of what has been compressed: of a tensor, an array, bytes, or a pair of these."""
    if isinstance(packed, tuple):
        return sum(map(size_of, packed))
    return int(packed.nbytes) if hasattr(packed, "nbytes") else len(packed)


def ebpc(block_size: int = 8, base: str = "sent", max_zero_run: int = 16) -> Compressor:
    """This library, whole container included, in as many threads as PyTorch is set to."""
    return Compressor(
        "ebpc",
        lambda x: torch_ebpc.compress(x, None, block_size, max_zero_run, base),
        lambda packed, like: torch_ebpc.decompress(packed),
    )


def auto() -> Compressor:
    """This library, each segment in the coding that is the smallest."""
    return Compressor(
        "auto",
        lambda x: torch_ebpc.compress(x, codec="auto"),
        lambda packed, like: torch_ebpc.decompress(packed),
    )


def memcpy() -> Compressor:
    """A copy: what memory allows."""
    return Compressor("memcpy", Tensor.clone, lambda packed, like: packed.clone())


def numpy_mask() -> Compressor:
    """Zero-value compression as one would write it in NumPy: packed mask and non-zero words."""

    def compress(x: Tensor) -> tuple[Any, Any]:
        words = words_of(x)
        nonzero = words != 0
        return numpy.packbits(nonzero), words[nonzero]

    def decompress(packed: tuple[Any, Any], like: Tensor) -> Tensor:
        mask, values = packed
        words = numpy.zeros(like.numel(), values.dtype)
        words[numpy.unpackbits(mask, count=like.numel()).view(bool)] = values
        return _tensor(words, like)

    return Compressor("NumPy mask", compress, decompress)


def zstd(level: int) -> Compressor:
    compressor, decompressor = zstandard.ZstdCompressor(level), zstandard.ZstdDecompressor()
    return Compressor(
        f"zstd -{level}",
        lambda x: compressor.compress(words_of(x).data),
        lambda packed, like: _tensor(decompressor.decompress(packed), like),
    )


def lz4_block() -> Compressor:
    return Compressor(
        "lz4",
        lambda x: lz4.block.compress(words_of(x).data, store_size=False),
        lambda packed, like: _tensor(
            lz4.block.decompress(packed, uncompressed_size=like.nbytes), like
        ),
    )


def blosc(codec: str, shuffle: str) -> Compressor:
    """Blosc2 on one thread: a shuffle of bits or bytes, then a general compressor at level 1."""
    filters = [getattr(blosc2.Filter, shuffle)]

    def compress(x: Tensor) -> Any:
        return blosc2.compress2(
            words_of(x).view(numpy.uint8),
            codec=getattr(blosc2.Codec, codec),
            clevel=1,
            typesize=x.element_size(),
            filters=filters,
            nthreads=1,
        )

    return Compressor(
        f"Blosc2 {shuffle.lower()} + {codec.lower()}",
        compress,
        lambda packed, like: _tensor(blosc2.decompress2(packed, nthreads=1), like),
    )


# The general compressors and filters that users have today, made anew for each use, because some
# cannot be shared between threads.
SOFTWARE: dict[str, Callable[[], Compressor]] = {
    "zstd-1": lambda: zstd(1),
    "zstd-3": lambda: zstd(3),
    "lz4": lz4_block,
    "blosc2-bitshuffle-lz4": lambda: blosc("LZ4", "BITSHUFFLE"),
    "blosc2-bitshuffle-zstd": lambda: blosc("ZSTD", "BITSHUFFLE"),
    "blosc2-shuffle-zstd": lambda: blosc("ZSTD", "SHUFFLE"),
}


def software() -> list[Compressor]:
    return [*(make() for make in SOFTWARE.values()), numpy_mask()]


# Those below are for `make bench` alone; each is imported where it is used.


def pcodec() -> Compressor:
    """pcodec, for words of 1, 2 or 4 bytes as unsigned numbers."""
    from pcodec import ChunkConfig, standalone

    config = ChunkConfig(compression_level=8, enable_8_bit=True)
    return Compressor(
        "pcodec -8",
        lambda x: standalone.simple_compress(_unsigned(x), config),
        lambda packed, like: _tensor(standalone.simple_decompress(packed), like),
    )


def openzl() -> Compressor:
    """OpenZL with its generic graph for numbers."""
    import openzl.ext as zl

    compressor, context = zl.Compressor(), zl.CCtx()
    compressor.select_starting_graph(zl.graphs.Compress()(compressor))

    def compress(x: Tensor) -> bytes:
        # Parameters of a context last for one frame.
        context.ref_compressor(compressor)
        context.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
        frame: bytes = context.compress([zl.Input(zl.Type.Numeric, _unsigned(x))])
        return frame

    def decompress(packed: bytes, like: Tensor) -> Tensor:
        output = zl.DCtx().decompress(packed)[0]
        return _tensor(numpy.array(output.content.as_nparray()), like)

    return Compressor("OpenZL", compress, decompress)


def zipnn(dtype: torch.dtype) -> Compressor:
    """ZipNN, which is for floating-point numbers, on one thread."""
    from zipnn import ZipNN

    codec = ZipNN(bytearray_dtype=str(dtype).removeprefix("torch."), threads=1)
    return Compressor(
        "ZipNN",
        # Of a copy, which counts in: ZipNN changes what it is given.
        lambda x: codec.compress(words_of(x).tobytes()),
        lambda packed, like: _tensor(bytes(codec.decompress(packed)), like),
    )


def numeric(dtype: torch.dtype) -> list[Compressor]:
    """Compressors of numbers, not of bytes: smaller than the general ones, and slower. Those that
    are not installed, which `make bench` does, are named on standard error and left out."""
    makers: list[Callable[[], Compressor]] = [pcodec, openzl]
    if dtype.is_floating_point:
        makers.append(lambda: zipnn(dtype))
    found = []
    for make in makers:
        try:
            found.append(make())
        except ModuleNotFoundError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def words_of(x: Tensor) -> Any:
    """The tensor's words as a flat NumPy array that shares its memory."""
    return x.contiguous().view(-1).view(_INTEGER[x.element_size()]).numpy()


def _unsigned(x: Tensor) -> Any:
    words = words_of(x)
    return words.view(f"u{words.itemsize}")


def _tensor(words: Any, like: Tensor) -> Tensor:
    array = words if isinstance(words, numpy.ndarray) else numpy.frombuffer(words, numpy.uint8)
    # torch.from_numpy warns of read-only memory; nothing here writes to it.
    array = array if array.flags.writeable else numpy.require(array, requirements="W")
    return torch.from_numpy(array.view(numpy.uint8)).view(like.dtype).view(like.shape)
