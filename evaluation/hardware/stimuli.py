"""Stimuli and expected responses for register-transfer-level test benches, as text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from torch_ebpc.hardware import EncoderRun
from torch_ebpc.report import csv_text

COUNT_BITS = 24  # of the published decoder's word count, LOG_MAX_WORDS

README = """# Stimuli and expected responses

Each layer is one transmission: the fixed-point map of one image, channel by channel, row by row, in
words of W = {word_bits} bits ({signedness}), coded with N = {block_size}, R = {max_zero_run},
base sent, with {zero_word} as the word that counts as zero. Line k of a file is the k-th beat of a
port. Streams are packed most significant bit first; the last word of a stream is padded with zero
bits. Lines are separated by a newline and none ends the file, so that a test bench that asks
`$feof` before each read reads no line twice.

`index.csv` lists the layers: name, file name, and the words in each file.

## hexadecimal/ (if chosen)

One beat a line: the word in {digits} hexadecimal digits, a blank, and 1 on the last beat of the
transmission, else 0. Read it by `$fscanf(file, "%h %b", word, last)`.

| file | encoder | decoder |
| --- | --- | --- |
| `NAME.words.hex` | stimulus: word input | expected response: word output |
| `NAME.zero.hex` | expected response: zero stream (ZNZ) | stimulus |
| `NAME.plane.hex` | expected response: plane stream (BPC) | stimulus |

The decoder is given the number of words first: the lines of `NAME.words.hex`, in `index.csv`. A
plane stream without words (a map of zeros) is an empty file: on such a stream the model drives one
beat with `keep` = 0 and `last` = 1.

## published/ (if chosen)

The same beats as the test benches of pulp-platform/stream-ebpc (`rtl_tb`) read them: binary, named
as its stimuli generator names them, each with the last flag (`"%b %b"`). Test benches up to 2019-12
read streams without it: give those the first column. The published decoder takes the number of
words less one, in {count_bits} bits and without a flag (`"%b"`).

Test benches that leave a stream's last flag unconnected report one mismatch of it, at the stream's
end. A plane stream without words is an empty file, as the published encoder emits none for it.
{published_note}
| file | port |
| --- | --- |
| `encoder/NAME_input.stim` | word input |
| `encoder/NAME_bpc.expresp` | plane stream |
| `encoder/NAME_znz.expresp` | zero stream |
| `decoder/NAME_num_words_input.stim` | number of words - 1 |
| `decoder/NAME_bpc_input.stim` | plane stream |
| `decoder/NAME_znz_input.stim` | zero stream |
| `decoder/NAME_data_output.expresp` | word output |
"""

PUBLISHED_NOTE = """
These parameters are outside of what the published RTL supports (signed words of a power of two of
bits, at least 8 and at least N, and 0 as the zero word): the files are for designs that follow its
test bench only.
"""


def file_name(layer: str) -> str:
    """A layer's name without what shells and simulators stumble over."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", layer)


def hexadecimal(word_bits: int) -> str:
    """The format of a word."""
    return f"0{-(-word_bits // 4)}x"


def beats(words: Sequence[int], form: str) -> str:
    """A line for each word, in a format, with the last flag."""
    return "\n".join(f"{word:{form}} {int(i == len(words))}" for i, word in enumerate(words, 1))


@dataclasses.dataclass
class StimuliWriter:
    """Writes a folder of stimuli, layer by layer, and closes it with its README and index."""

    folder: Path
    signed: bool
    hexadecimal: bool = True
    published: bool = False

    def __post_init__(self) -> None:
        self._index: list[dict[str, str | int]] = []
        self._run: EncoderRun | None = None

    def add(self, layer: str, words: Tensor, run: EncoderRun) -> None:
        self._run = run
        name, mask = file_name(layer), (1 << run.word_bits) - 1
        streams = {
            "words": [word & mask for word in words.flatten().tolist()],  # two's complement
            "zero": run.zero_stream.tolist(),
            "plane": run.plane_stream.tolist(),
        }
        files = {}
        if self.hexadecimal:
            for stream, each in streams.items():
                text = beats(each, hexadecimal(run.word_bits))
                files[f"hexadecimal/{name}.{stream}.hex"] = text
        if self.published:
            binary = {stream: beats(each, f"0{run.word_bits}b") for stream, each in streams.items()}
            count = f"{run.words - 1:0{COUNT_BITS}b}"
            files |= {
                f"published/encoder/{name}_input.stim": binary["words"],
                f"published/encoder/{name}_bpc.expresp": binary["plane"],
                f"published/encoder/{name}_znz.expresp": binary["zero"],
                f"published/decoder/{name}_num_words_input.stim": count,
                f"published/decoder/{name}_bpc_input.stim": binary["plane"],
                f"published/decoder/{name}_znz_input.stim": binary["zero"],
                f"published/decoder/{name}_data_output.expresp": binary["words"],
            }
        for path, text in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self._index.append(
            {
                "layer": layer,
                "file_name": name,
                "words": run.words,
                "zero_stream_words": run.zero.words,
                "plane_stream_words": run.plane.words,
            }
        )

    def close(self) -> None:
        run = self._run
        if run is None:
            raise ValueError("no layer was added")
        (self.folder / "index.csv").write_text(csv_text(self._index))
        width = run.word_bits
        supported = self.signed and width in (8, 16, 32) and run.block_size <= width
        supported = supported and run.zero_word == 0
        text = README.format(
            word_bits=width,
            signedness="two's complement" if self.signed else "unsigned",
            block_size=run.block_size,
            max_zero_run=run.max_zero_run,
            zero_word=run.zero_word,
            digits=-(-width // 4),
            count_bits=COUNT_BITS,
            published_note="" if supported else PUBLISHED_NOTE,
        )
        (self.folder / "README.md").write_text(text)
