"""Feature maps through the cycle-true model: words a cycle, stalls, FIFO depths."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

import torch_ebpc
from evaluation.hardware.layer_maps import zero_count
from torch_ebpc.hardware import EncoderRun, MemoryPort, Run, run_decoder, run_encoder

NO_PORT = MemoryPort()

RUNS = {
    "encoder": "encoder, no back-pressure",
    "encoder_memory": "encoder, port",
    "decoder": "decoder, no back-pressure",
    "decoder_memory": "decoder, port",
}
"""Of every map; those at the port have FIFOs of limited depth. And "encoder_unbounded", at the same
port with FIFOs without limit: its high-water marks are the depths that would never stall it."""


@dataclasses.dataclass(frozen=True)
class Design:
    """W, N and R, the memory port of the design, and the word that counts as zero."""

    word_bits: int = 8
    block_size: int = 8
    max_zero_run: int = 16
    memory: MemoryPort = NO_PORT
    zero_word: int = 0

    @property
    def code(self) -> tuple[int, int, int]:
        return self.word_bits, self.block_size, self.max_zero_run

    def encode(self, words: Tensor, memory: MemoryPort = NO_PORT, lanes: int = 1) -> EncoderRun:
        return run_encoder(words, *self.code, memory, self.zero_word, lanes)

    def stream_bits(self, words: Tensor) -> Tensor:
        """Bits of both streams by the codec [transmissions, 2]; the first dimension of ``words``
        is of transmissions."""
        return torch_ebpc.count_transmission_bits(
            words, "ebpc", *self.code, "sent", transmission_dims=1, zero=self.zero_word
        )

    def whole_words(self, bits: Tensor) -> Tensor:
        """Bits of streams as the encoder emits them, in words of W bits."""
        return bits.add(self.word_bits - 1) // self.word_bits * self.word_bits


def measure(name: str, words: Tensor, design: Design) -> tuple[dict[str, int], EncoderRun]:
    """A record of one map, a transmission of its own, and the encoder's run without back-pressure.
    Every decoder's output is compared with what went in, and the encoder's streams with the
    codec's."""
    encoded = design.encode(words)
    _check_streams(encoded, words, design)
    runs: dict[str, Run] = {
        "encoder": encoded,
        "encoder_memory": design.encode(words, design.memory),
        "encoder_unbounded": design.encode(words, dataclasses.replace(design.memory, fifo_words=0)),
    }
    for key, memory in (("decoder", NO_PORT), ("decoder_memory", design.memory)):
        decoded = runs[key] = run_decoder(encoded, memory)
        if not torch.equal(decoded.tensor, words):
            raise AssertionError(f"{name}: the decoder does not give the words back")
    record = {
        "words": words.numel(),
        "zeros": zero_count(words, design.zero_word),
        "zero_stream_words": encoded.zero.words,
        "plane_stream_words": encoded.plane.words,
    }
    for key, run in runs.items():
        record[f"{key}_cycles"] = run.cycles
        record |= {f"{key}_stall_{cause}": cycles for cause, cycles in run.stalls.items()}
        record[f"{key}_zero_fifo_high_water"] = run.zero.fifo_high_water
        record[f"{key}_plane_fifo_high_water"] = run.plane.fifo_high_water
    return record, encoded


def _check_streams(encoded: EncoderRun, words: Tensor, design: Design) -> None:
    """The bits of the hardware's streams are the codec's, up to the padding of the last word."""
    found = torch.tensor([encoded.zero.words, encoded.plane.words]) * design.word_bits
    expected = design.whole_words(design.stream_bits(words.unsqueeze(0))[0])
    if not torch.equal(found, expected):
        raise AssertionError(
            f"the hardware's streams have {found.tolist()} bits, the codec's {expected.tolist()}"
        )
