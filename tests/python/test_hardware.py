"""The hardware model from Python: the codec's bits, every cycle accounted for, every register."""

import dataclasses
import itertools
import re
from pathlib import Path

import pytest
import torch
from helpers import about, relu_words

import torch_ebpc
from torch_ebpc import hardware
from torch_ebpc._hardware_registers import growth_law, growth_table
from torch_ebpc.hardware import MemoryPort, run_decoder, run_encoder
from torch_ebpc.ops import DTYPES

ROOT = Path(__file__).resolve().parents[2]


def random_words(dtype, count=600, density=0.6):
    """Bit patterns of all kinds, NaN among them, with zeros in between."""
    size = dtype.itemsize
    patterns = torch.randint(0, 256, (count, size), dtype=torch.uint8)
    patterns *= (torch.rand(count, 1) < density).to(torch.uint8)
    return patterns.view(dtype).flatten()


def words_of_stream(stream, bits, width):
    """The words of W bits that a packed stream is, the last one padded with zeros."""
    ones_and_zeros = "".join(f"{byte:08b}" for byte in stream.tolist())[:bits]
    padded = ones_and_zeros + "0" * (-bits % width)
    return [int(padded[i : i + width], 2) for i in range(0, len(padded), width)]


# ---- Runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_streams_are_the_codecs_and_decode_to_the_same_bits(dtype):
    x = random_words(dtype).reshape(3, 20, 10)
    run = run_encoder(x)
    streams = torch_ebpc.encode(x)
    width = run.word_bits
    expected_zero = words_of_stream(streams.zero_stream, streams.zero_bits, width)
    expected_plane = words_of_stream(streams.plane_stream, streams.plane_bits, width)
    assert run.zero_stream.tolist() == expected_zero
    assert run.plane_stream.tolist() == expected_plane
    decoded = run_decoder(run)
    assert decoded.tensor.dtype == dtype
    assert torch.equal(decoded.tensor.view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize(("word_bits", "block_size", "max_zero_run"), [(4, 4, 8), (12, 16, 32)])
def test_narrow_words_and_other_parameters(word_bits, block_size, max_zero_run):
    x = relu_words(4000, bits=word_bits)
    run = run_encoder(x, word_bits, block_size, max_zero_run)
    streams = torch_ebpc.encode(x, word_bits, block_size, max_zero_run)
    expected = words_of_stream(streams.plane_stream, streams.plane_bits, word_bits)
    assert run.plane_stream.tolist() == expected
    assert torch.equal(run_decoder(run).tensor, x)


def test_a_map_of_zeros_has_a_plane_stream_without_words():
    run = run_encoder(torch.zeros(100, dtype=torch.int8))
    assert (run.words, run.plane.words) == (100, 0)
    assert not run_decoder(run).tensor.any()


def test_a_strided_tensor_is_read_in_logical_order():
    x = relu_words(60).reshape(6, 10)
    run = run_encoder(x.t())
    assert run.plane_stream.tolist() == run_encoder(x.t().contiguous()).plane_stream.tolist()
    assert torch.equal(run_decoder(run).tensor, x.t())


@pytest.mark.parametrize("bits_per_cycle", [0, 2, 5, 8, 64])
def test_every_cycle_is_a_word_or_a_stall_with_a_cause(bits_per_cycle):
    x = random_words(torch.int8, 3000, 0.9)
    memory = MemoryPort(bits_per_cycle, burst_bytes=16, fifo_words=32)
    free = run_encoder(x)
    encoded = run_encoder(x, memory=memory)
    decoded = run_decoder(encoded, memory)
    for run, causes in ((encoded, hardware.ENCODER_STALLS), (decoded, hardware.DECODER_STALLS)):
        assert tuple(run.stalls) == causes
        assert run.words + sum(run.stalls.values()) == run.cycles
        assert run.words_per_cycle == run.words / run.cycles <= 1
        assert run.zero.fifo_high_water <= 32
        assert run.plane.fifo_high_water <= 32
    # Back-pressure changes no bit and nothing gets faster by it.
    assert torch.equal(encoded.zero_stream, free.zero_stream)
    assert torch.equal(encoded.plane_stream, free.plane_stream)
    assert encoded.cycles >= free.cycles
    assert torch.equal(decoded.tensor, x)


def test_a_narrow_port_sets_the_pace_and_is_blamed_for_it():
    x = relu_words(20_000)
    memory = MemoryPort(2, 64, 128)
    run = run_encoder(x, memory=memory)
    assert run.cycles == pytest.approx(run.stream_words * 8 / 2, rel=0.03)
    assert run.stalls["plane_packer"] + run.stalls["zero_packer"] > run.stalls["symbol_coder"]
    assert run_decoder(run, memory).stalls["plane_unpacker"] > 0


def test_a_fifo_as_deep_as_the_high_water_mark_never_stalls_the_encoder():
    x = relu_words(20_000)
    unbounded = run_encoder(x, memory=MemoryPort(5))
    depth = max(unbounded.zero.fifo_high_water, unbounded.plane.fifo_high_water)
    free = run_encoder(x)
    deep = run_encoder(x, memory=MemoryPort(5, fifo_words=depth + 1))
    assert unbounded.cycles == deep.cycles == free.cycles


def test_bursts_sum_to_the_words_of_the_streams():
    run = run_encoder(relu_words(4000))
    for stream in (run.zero, run.plane):
        assert len(stream.bursts) == hardware.LONGEST_BURST + 1
        assert stream.bursts[0] == stream.bursts[-1] == 0
        assert sum(length * count for length, count in enumerate(stream.bursts)) == stream.words


def test_incompressible_words_take_w_plus_2_cycles_a_block():
    x = torch.randint(1, 128, (8000,), dtype=torch.int8)
    run = run_encoder(x)
    assert 0.8 <= run.words_per_cycle < 0.86
    assert run.stalls["symbol_coder"] > 0.9 * sum(run.stalls.values())


def test_a_transmission_has_a_known_dtype():
    for x in (torch.zeros(4, dtype=torch.uint8).view(torch.bits8), [1, 2, 3]):
        with pytest.raises(TypeError, match=about("x")):
            run_encoder(x)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("block_size", {"block_size": 1}),
        ("word_bits", {"word_bits": 0}),
        ("max_zero_run", {"max_zero_run": 3}),
        ("bits_per_cycle", {"memory": MemoryPort(-1)}),
    ],
)
def test_a_wrong_design_is_named(name, arguments):
    with pytest.raises(ValueError, match=about(name)):
        run_encoder(torch.ones(20, dtype=torch.int8), **arguments)


# ---- Registers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("design", "total", "bits"),
    [("encoder", 204, [4, 19, 21, 63, 71, 4, 22]), ("decoder", 201, [24, 17, 4, 20, 4, 64, 68])],
)
def test_the_inventory_has_the_bits_of_every_unit(design, total, bits):
    """Published: under 300."""
    found = hardware.inventory(design)
    assert list(found.bits_by_unit().values()) == bits
    assert found.total_bits == total
    lines = str(found).splitlines()[2:]
    of_units = [int(line.split()[-1]) for line in lines if line[0] != " "]
    assert of_units == [*bits, total]


def test_several_lanes_are_the_same_streams_in_fewer_cycles_and_more_registers():
    x = relu_words(3000)
    narrow = run_encoder(x)
    cycles, bits = [narrow.cycles], [hardware.inventory().total_bits]
    for lanes in (2, 4, 8):
        run = run_encoder(x, lanes=lanes, memory=MemoryPort(64, 64, 128))
        assert torch.equal(run.zero_stream, narrow.zero_stream)
        assert torch.equal(run.plane_stream, narrow.plane_stream)
        assert torch.equal(run_decoder(run).tensor, x)
        assert run.words_per_cycle <= lanes
        cycles.append(run_encoder(x, lanes=lanes).cycles)
        bits.append(hardware.inventory("encoder", lanes=lanes).total_bits)
    assert cycles == sorted(cycles, reverse=True)
    assert bits == [204, 243, 317, 463]


@pytest.mark.parametrize("zero_word", [-128, 7])
def test_another_zero_word_is_the_codecs(zero_word):
    x = relu_words(1000)
    x[x == 0] = zero_word
    streams = torch_ebpc.encode(x, zero=zero_word)
    for lanes in (1, 4):
        run = run_encoder(x, zero_word=zero_word, lanes=lanes)
        assert run.plane_stream.tolist() == words_of_stream(
            streams.plane_stream, streams.plane_bits, 8
        )
        assert torch.equal(run_decoder(run).tensor, x)


def bits_to_count(highest):
    return highest.bit_length()


@pytest.mark.parametrize(
    ("w", "n", "r"), list(itertools.product((4, 8, 12, 16, 32), (4, 8, 16), (16, 64)))
)
def test_the_growth_law_is_the_count(w, n, r):
    """The law as `growth_law()` and the documentation state it, worked out once more."""
    log2_n, log2_w, z = ((value - 1).bit_length() for value in (n, w, r))
    longest = max(w, n, 5 + log2_n, 3 + log2_w)
    c = bits_to_count
    encoder = 2 * (n - 1) * (w + 1) + 5 * w + longest + 2 * z
    encoder += c(n) + c(w + 3) + c(w + longest) + c(w + z + 2) + 5
    decoder = 2 * (n - 1) * w + 4 * w + longest + 2 * z
    decoder += 24 + c(n) + c(w + 2) + c(w + longest - 1) + c(w + z) + 1
    assert hardware.register_bits(w, n, r) == (encoder, decoder)
    assert hardware.inventory("encoder", w, n, r).total_bits == encoder
    assert hardware.inventory("decoder", w, n, r).total_bits == decoder


def test_the_growth_table_has_every_width_and_block_size():
    table = growth_table()
    assert [(row.word_bits, row.block_size) for row in table] == list(
        itertools.product((4, 8, 12, 16, 32), (4, 8, 16))
    )
    assert all((row.encoder_bits, row.decoder_bits) == hardware.register_bits(
        row.word_bits, row.block_size) for row in table)  # fmt: skip
    assert "encoder = 2 (N-1) (W+1)" in growth_law()


# ---- Documentation -------------------------------------------------------------------------------


def test_the_documentation_shows_these_registers():
    text = (ROOT / "docs" / "hardware.md").read_text()
    for design in ("encoder", "decoder"):
        assert hardware.inventory(design).table("github") in text
    assert growth_law() in text
    for row in growth_table():
        cells = r" *\| *".join(map(str, dataclasses.astuple(row)))
        assert re.search(rf"^\| *{cells} *\|", text, re.MULTILINE)


def test_the_documentation_names_every_stall():
    text = (ROOT / "docs" / "hardware.md").read_text()
    for cause in (*hardware.ENCODER_STALLS, *hardware.DECODER_STALLS):
        assert f"| `{cause}` |" in text
