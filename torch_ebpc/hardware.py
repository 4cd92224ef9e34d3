"""The hardware's side: tensors through a register-transfer-level model of encoder and decoder.

The model (``csrc/ebpc/hardware``) is cycle-true and bit-exact: one call is one clock cycle, all
state is in named registers of declared width, and its streams are those of :func:`encode` with the
base sent, padded to whole words. The functions here run whole transmissions and return what an
architect asks of them: cycles, stall causes, FIFO depths, bursts, and the registers themselves.

``word_bits`` (W), ``block_size`` (N) and ``max_zero_run`` (R) are as in :mod:`torch_ebpc.ops`, with
N up to 32; the base is always sent. One call is one transmission of 1 to 2^24 - 1 words. ``lanes``
above 1 takes the wide encoder, which has that many words in a cycle.

Example:
    >>> x = torch.tensor([0, 3, 4, 6, 0, 0, 5, 0], dtype=torch.int8).repeat(100)
    >>> run = torch_ebpc.hardware.run_encoder(x)
    >>> run.words, run.words_per_cycle > 0.9
    (800, True)
    >>> torch.equal(torch_ebpc.hardware.run_decoder(run).tensor, x)
    True
    >>> torch_ebpc.hardware.inventory().total_bits
    204
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from torch_ebpc._arguments import TRAITS, check_input
from torch_ebpc._hardware_registers import Inventory as Inventory
from torch_ebpc._hardware_registers import RegisterGroup as RegisterGroup
from torch_ebpc._hardware_registers import inventory, register_bits
from torch_ebpc.errors import translated

__all__ = ["MemoryPort", "inventory", "register_bits", "run_decoder", "run_encoder"]

ENCODER_STALLS = ("starved", "zero_packer", "symbol_coder", "plane_packer", "ending")
"""Why the encoder took no word in a cycle.

In order: none was offered; no room in the zero stream's packer; block buffer full, symbol coder at
work; block buffer full, symbol coder waits for room in the plane stream's packer; the transmission
before is being filled up and closed, or the end is under way."""

DECODER_STALLS = (
    "idle",
    "word_output",
    "zero_unpacker",
    "symbol_decoder",
    "plane_unpacker",
    "ending",
)
"""Why no word left the decoder in a cycle.

In order: no transmission; the consumer was not ready; the zero stream's next symbol is not
complete; block not complete, symbol decoder at work; block not complete, symbol decoder waits for
bits; the last word waits for the plane stream's last beat."""

LONGEST_BURST = 64
"""Histograms count bursts of this many cycles and longer in one bin."""

_COMMON_COUNTERS = 4  # cycles, words, words of the zero stream, words of the plane stream


@dataclasses.dataclass(frozen=True)
class MemoryPort:
    """The port to memory that both streams share, with a FIFO for each stream in front of it. It
    moves one burst of one stream at a time, in turn where both could go.

    Attributes:
        bits_per_cycle: bits that the port moves in a clock cycle of the design. 0: no port and no
            FIFOs, so that every word moves at once: no back-pressure.
        burst_bytes: bytes of a burst; only the last one of a stream is shorter.
        fifo_words: depth of each FIFO in words of W bits, at least a burst. 0: without limit for
            the encoder, so that the high-water mark is the depth that would never stall it, and
            two bursts for the decoder.

    Example:
        >>> port = torch_ebpc.hardware.MemoryPort(bits_per_cycle=4, fifo_words=128)
        >>> x = torch.arange(1, 101, dtype=torch.int8)
        >>> torch_ebpc.hardware.run_encoder(x, memory=port).plane.fifo_high_water <= 128
        True
    """

    bits_per_cycle: int = 0
    burst_bytes: int = 64
    fifo_words: int = 0


@dataclasses.dataclass(frozen=True)
class StreamTraffic:
    """One stream at the design's own port.

    Attributes:
        words: words of W bits that moved; the last one is padded with zero bits.
        fifo_high_water: the most words of W bits that ever were in the stream's FIFO.
        bursts: element k counts the bursts of exactly k consecutive cycles in which a word moved;
            the last element, those of that length and longer. Element 0 is always 0.
    """

    words: int
    fifo_high_water: int
    bursts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """One transmission, until its last word and the last beats of both streams have left.

    Attributes:
        cycles: clock cycles.
        words: uncompressed words of W bits.
        stalls: clock cycles in which no uncompressed word moved, by cause
            (:data:`ENCODER_STALLS` or :data:`DECODER_STALLS`); with ``words`` they sum to
            ``cycles``.
        zero, plane: the two streams.
        zero_stream, plane_stream: int64 [words]: the words of the streams, W bits each.
        word_bits, block_size, max_zero_run: W, N and R.
        zero_word: the word that counts as zero.
    """

    cycles: int
    words: int
    stalls: dict[str, int]
    zero: StreamTraffic
    plane: StreamTraffic
    zero_stream: Tensor = dataclasses.field(repr=False)
    plane_stream: Tensor = dataclasses.field(repr=False)
    word_bits: int
    block_size: int
    max_zero_run: int
    zero_word: int

    @property
    def words_per_cycle(self) -> float:
        """Uncompressed words per clock cycle."""
        return self.words / self.cycles

    @property
    def stream_words(self) -> int:
        """Words of W bits of both streams."""
        return self.zero.words + self.plane.words


@dataclasses.dataclass(frozen=True)
class EncoderRun(Run):
    """A :class:`Run` of the encoder, which was offered a word in every cycle, or one for each
    lane.

    Attributes:
        shape, dtype: of the tensor that went in.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclasses.dataclass(frozen=True)
class DecoderRun(Run):
    """A :class:`Run` of the decoder, whose consumer took a word in every cycle.

    Attributes:
        tensor: the decoded words.
    """

    tensor: Tensor = dataclasses.field(repr=False)


def run_encoder(
    x: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    memory: MemoryPort = MemoryPort(),
    zero_word: int = 0,
    lanes: int = 1,
) -> EncoderRun:
    """Sends a tensor through the encoder, as one transmission in row-major order.

    Args:
        zero_word: the word that counts as zero, as ``zero`` of :func:`encode`.
        lanes: words that the encoder is offered in a cycle, 1 to 8 and at most N. Above 1 it is the
            wide encoder; the streams are the same.

    Raises:
        TypeError: ``x`` is not a tensor, or its dtype or layout is not supported.
        ValueError: it has no words, an argument is out of range, or a value does not fit.

    Example:
        >>> run = torch_ebpc.hardware.run_encoder(torch.arange(1, 101, dtype=torch.int8))
        >>> run.words + sum(run.stalls.values()) == run.cycles
        True
    """
    check_input("x", x, cuts_graph=False)
    with translated():
        zero, plane, counters, bursts = torch.ops.torch_ebpc.hardware_encode.default(
            x.detach(),
            word_bits,
            block_size,
            max_zero_run,
            *dataclasses.astuple(memory),
            zero_word,
            lanes,
        )
    width = TRAITS[x.dtype].word_bits if word_bits is None else word_bits
    return EncoderRun(
        **_run_fields(ENCODER_STALLS, counters, bursts),
        zero_stream=zero,
        plane_stream=plane,
        word_bits=width,
        block_size=block_size,
        max_zero_run=max_zero_run,
        zero_word=zero_word,
        shape=tuple(x.shape),
        dtype=x.dtype,
    )


def run_decoder(encoded: EncoderRun, memory: MemoryPort = MemoryPort()) -> DecoderRun:
    """Sends the two streams of an encoder's run through the decoder.

    Raises:
        EBPCFormatError: the streams end before the last word is decoded.
        ValueError: an argument is out of range.

    Example:
        >>> run = torch_ebpc.hardware.run_encoder(torch.tensor([0, 5, 0], dtype=torch.int8))
        >>> torch_ebpc.hardware.run_decoder(run).tensor
        tensor([0, 5, 0], dtype=torch.int8)
    """
    with translated():
        tensor, counters, bursts = torch.ops.torch_ebpc.hardware_decode.default(
            encoded.zero_stream,
            encoded.plane_stream,
            encoded.shape,
            encoded.dtype,
            encoded.word_bits,
            encoded.block_size,
            encoded.max_zero_run,
            *dataclasses.astuple(memory),
            encoded.zero_word,
        )
    return DecoderRun(
        **_run_fields(DECODER_STALLS, counters, bursts),
        zero_stream=encoded.zero_stream,
        plane_stream=encoded.plane_stream,
        word_bits=encoded.word_bits,
        block_size=encoded.block_size,
        max_zero_run=encoded.max_zero_run,
        zero_word=encoded.zero_word,
        tensor=tensor,
    )


def _run_fields(causes: tuple[str, ...], counters: Tensor, bursts: Tensor) -> dict[str, Any]:
    cycles, words, zero_words, plane_words, *rest = counters.tolist()
    *stalls, zero_fifo, plane_fifo = rest
    zero_bursts, plane_bursts = bursts.tolist()
    return {
        "cycles": cycles,
        "words": words,
        "stalls": dict(zip(causes, stalls, strict=True)),
        "zero": StreamTraffic(zero_words, zero_fifo, tuple(zero_bursts)),
        "plane": StreamTraffic(plane_words, plane_fifo, tuple(plane_bursts)),
    }


# ---- Fake kernels ------------------------------------------------------------------------------


def _fake_counters(like: Tensor, causes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    high_water_marks = 2
    counters = _COMMON_COUNTERS + len(causes) + high_water_marks
    return (
        like.new_empty(counters, dtype=torch.int64),
        like.new_empty((2, LONGEST_BURST + 1), dtype=torch.int64),
    )


@torch.library.register_fake("torch_ebpc::hardware_encode")  # type: ignore[untyped-decorator]
def _fake_encode(
    input: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    bits_per_cycle: int = 0,
    burst_bytes: int = 64,
    fifo_words: int = 0,
    zero_word: int = 0,
    lanes: int = 1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    zero = input.new_empty(context.new_dynamic_size(), dtype=torch.int64)
    plane = input.new_empty(context.new_dynamic_size(), dtype=torch.int64)
    return zero, plane, *_fake_counters(input, ENCODER_STALLS)


@torch.library.register_fake("torch_ebpc::hardware_decode")  # type: ignore[untyped-decorator]
def _fake_decode(
    zero_stream: Tensor,
    plane_stream: Tensor,
    shape: list[int],
    dtype: torch.dtype,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    bits_per_cycle: int = 0,
    burst_bytes: int = 64,
    fifo_words: int = 0,
    zero_word: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    words = zero_stream.new_empty(shape, dtype=dtype)
    return words, *_fake_counters(zero_stream, DECODER_STALLS)
