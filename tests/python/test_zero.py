"""The zero that is not the word 0: zero points, -0.0, and what zero="auto" chooses."""

from __future__ import annotations

import pytest
import torch
from helpers import (
    DTYPES,
    INTEGERS,
    METHODS,
    about,
    assert_same_bits,
    bits_of,
    from_patterns,
    metered,
)
from torch.nn.utils import prune

import torch_ebpc
from torch_ebpc._arguments import word_of


def relu_map(count: int = 64 * 4096, seed: int = 0) -> torch.Tensor:
    """int8 [count], 0 to 127: half zeros, the rest slowly changing."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(-4, 5, (count,), generator=generator).cumsum(0).remainder(254)
    values = torch.where(steps > 127, 254 - steps, steps)
    zeros = torch.rand(count // 16 + 1, generator=generator) < 0.5
    return values.masked_fill(zeros.repeat_interleave(16)[:count], 0).to(torch.int8)


# ---- A zero point --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_streams_of_any_zero_come_back_and_have_the_bits_of_their_differences_to_it(dtype, method):
    generator = torch.Generator().manual_seed(1)
    difference = torch.randint(0, 60, (40, 50), generator=generator)
    difference[torch.rand(40, 50, generator=generator) < 0.5] = 0
    zero = -100 if dtype.is_signed else 3
    x = (difference + zero).to(dtype)
    for base in ("sent", "reused"):
        code = {"method": method, "base": base}
        streams = torch_ebpc.encode(x, **code, zero=zero)
        assert streams.zero == zero
        assert_same_bits(torch_ebpc.decode(streams), x)
        assert streams.bits == torch_ebpc.count_bits(x, **code, zero=zero)
        rows = torch_ebpc.count_transmission_bits(x, **code, transmission_dims=1, zero=zero)
        assert rows.sum().item() == sum(torch_ebpc.count_bits(row, **code, zero=zero) for row in x)
        plain = torch_ebpc.encode(difference.to(dtype), **code)
        assert streams.zero_bits == plain.zero_bits
        assert torch.equal(streams.zero_stream, plain.zero_stream)
        # The first base where it is re-used and the fill of the last block differ.
        most = 2 * (8 * dtype.itemsize + 2) * 9 if method in ("ebpc", "bpc") else 0
        assert abs(streams.plane_bits - plain.plane_bits) <= most


def test_whole_blocks_with_their_bases_have_the_very_same_bits():
    x = relu_map(4096)
    x[x.nonzero()[: int((x != 0).sum()) % 8]] = 0
    assert int((x != 0).sum()) % 8 == 0
    shifted = (x.to(torch.int16) - 128).to(torch.int8)
    assert torch_ebpc.count_bits(shifted, zero=-128) == torch_ebpc.count_bits(x)


def test_a_zero_point_costs_less_than_a_thousandth():
    x = relu_map()
    shifted = (x.to(torch.int16) - 128).to(torch.int8)
    for method in METHODS:
        bits = torch_ebpc.count_bits(x, method)
        assert abs(torch_ebpc.count_bits(shifted, method, zero=-128) - bits) <= bits / 1000
    unaware = torch_ebpc.count_bits(shifted)
    assert unaware > 1.2 * torch_ebpc.count_bits(shifted, zero=-128)
    for codec in ("ebpc", "auto"):
        packed = torch_ebpc.compress(shifted, codec=codec, zero=-128)
        info = torch_ebpc.inspect(packed)
        assert (info.format_version, info.zero, info.both_zeros) == (3, -128, False)
        before = torch_ebpc.compress(x, codec=codec).numel()
        # Version 3's header is longer than version 1's; automatic containers have it anyway.
        table = 4 + 4 * info.segments if codec == "ebpc" else 0
        assert abs(packed.numel() - table - before) <= before / 1000
        assert_same_bits(torch_ebpc.decompress(packed), shifted)


def test_statistics_of_a_zero_are_those_of_its_differences():
    x = relu_map(8192)
    shifted = (x.to(torch.int16) - 128).to(torch.int8)
    found = torch_ebpc.symbol_statistics(shifted, zero=-128)
    expected = torch_ebpc.symbol_statistics(x)
    assert found.zero_runs == expected.zero_runs
    assert found.nonzero_words == expected.nonzero_words
    bits = torch_ebpc.count_bits(shifted, zero=-128)
    assert found.zero_bits + found.plane_bits == bits


def test_every_kernel_has_the_bits_of_every_other():
    x = (relu_map(20_000).to(torch.int16) - 128).to(torch.int8)
    expected = torch_ebpc.compress(x, zero=-128)
    for kernel in torch_ebpc.kernels():
        with torch_ebpc.use_kernel(kernel):
            assert torch.equal(torch_ebpc.compress(x, zero=-128), expected)
            assert_same_bits(torch_ebpc.decompress(expected), x)


def test_pieces_of_a_zero_have_the_bytes_of_the_whole(tmp_path):
    x = (relu_map(20_000).to(torch.int16) - 128).to(torch.int8)
    encoder = torch_ebpc.ContainerEncoder(x.shape, x.dtype, zero=-128)
    payload = [encoder.push(part) for part in x.split(3000)]
    whole = torch_ebpc.compress(x, zero=-128)
    assert torch.equal(torch.cat([encoder.finish(), *payload]), whole)
    torch_ebpc.write_file(tmp_path / "x", x.split(3000), x.shape, x.dtype, zero=-128)
    assert torch.equal(torch_ebpc.map_file(tmp_path / "x"), whole)
    decoder = torch_ebpc.ContainerDecoder()
    parts = [part for piece in whole.split(999) for part in decoder.push(piece)]
    decoder.finish()
    assert_same_bits(torch.cat(parts), x)


def test_a_batch_is_counted_with_its_zero():
    x = (relu_map(3 * 500).view(3, 500).to(torch.int16) - 128).to(torch.int8)
    found = torch.func.vmap(lambda each: torch_ebpc.count_transmission_bits(each, zero=-128))(x)
    assert torch.equal(found, torch_ebpc.count_transmission_bits(x, transmission_dims=1, zero=-128))


def test_a_zero_is_compiled():
    x = (relu_map(5000).to(torch.int16) - 128).to(torch.int8)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def packed(x):
        return torch_ebpc.compress(x, zero=-128), torch_ebpc.count_transmission_bits(x, zero=-128)

    found, bits = packed(x)
    assert torch.equal(found, torch_ebpc.compress(x, zero=-128))
    assert bits.sum() == torch_ebpc.count_bits(x, zero=-128)


# ---- Negative zeros ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_pruned_weights_are_as_small_as_with_zeros_of_one_sign(dtype):
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 256)
    prune.l1_unstructured(layer, "weight", 0.9)
    pruned = layer.weight.detach().to(dtype)
    assert 0.4 < (bits_of(pruned) == torch.iinfo(bits_of(pruned).dtype).min).float().mean() < 0.5
    unsigned = pruned + 0.0  # -0.0 + 0.0 is 0.0
    for codec in ("ebpc", "auto"):
        packed = torch_ebpc.compress(pruned, codec=codec, zero="auto")
        info = torch_ebpc.inspect(packed)
        assert (info.format_version, info.both_zeros, info.zero) == (3, True, 0)
        assert_same_bits(torch_ebpc.decompress(packed), pruned)
        table = 4 + 4 * info.segments
        signs = int((pruned == 0).sum()) // 8 + info.segments
        least = torch_ebpc.compress(unsigned, codec=codec).numel()
        assert least <= packed.numel() <= least + table + signs
        unaware = torch_ebpc.compress(pruned, codec=codec, zero=0).numel()
        assert packed.numel() < 0.75 * unaware


def test_zeros_of_one_sign_in_a_segment_need_no_signs():
    torch.manual_seed(0)
    swished = torch.nn.functional.hardswish(torch.randn(8 * 4096) * 6 - 3)
    negative = (swished == 0) & swished.signbit()
    assert (swished == 0).sum() == negative.sum() > 15_000
    packed = torch_ebpc.compress(swished, zero="auto")
    least = torch_ebpc.compress(swished + 0.0).numel()
    assert least <= packed.numel() <= least + 4 + 4 * 8
    assert_same_bits(torch_ebpc.decompress(packed), swished)
    assert torch_ebpc.count_bits(swished, zero=-0.0) <= 8 * least
    streams = torch_ebpc.encode(swished, zero=-0.0)
    assert_same_bits(torch_ebpc.decode(streams), swished)


def test_dropped_out_values_of_both_signs_come_back():
    torch.manual_seed(0)
    x = torch.nn.functional.dropout(torch.randn(3, 5000), 0.5)
    assert ((x == 0) & x.signbit()).any()
    for codec in ("ebpc", "auto"):
        packed = torch_ebpc.compress(x, codec=codec, zero="auto")
        assert packed.numel() < torch_ebpc.compress(x, codec=codec, zero=0).numel()
        assert_same_bits(torch_ebpc.decompress(packed), x)
        assert_same_bits(torch_ebpc.decompress(packed, index=1), x[1])
        assert_same_bits(torch_ebpc.recover(packed).tensor, x)


# ---- What zero="auto" chooses --------------------------------------------------------------------


def test_of_integers_it_is_the_most_frequent_word():
    x = relu_map(20_000)
    for zero in (-128, -7, 5):
        y = torch.where(x == 0, torch.tensor(zero, dtype=torch.int8), x)
        info = torch_ebpc.inspect(torch_ebpc.compress(y, zero="auto"))
        assert (info.zero, info.format_version) == (zero, 3)
        assert torch_ebpc.inspect(torch_ebpc.compress(y, codec="auto")).zero == zero
        assert torch_ebpc.inspect(torch_ebpc.compress(y)).zero == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_needs_nothing_new_is_written_as_before(dtype):
    x = relu_map(20_000).to(dtype)
    for codec, version in (("ebpc", 1), ("auto", 3)):
        packed = torch_ebpc.compress(x, codec=codec, zero="auto")
        assert torch.equal(packed, torch_ebpc.compress(x, codec=codec, zero=0))
        assert torch_ebpc.inspect(packed).format_version == version


# ---- What is no zero -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "zero"),
    [
        (torch.int8, -129),
        (torch.uint8, -1),
        (torch.int16, 0.5),
        (torch.int32, float("nan")),
        (torch.uint32, float("inf")),
        (torch.int32, 2**80),
        (torch.bool, 2),
        (torch.bfloat16, 0.1),
        (torch.float32, float("nan")),
        (torch.int64, 5),
        (torch.float64, -0.0),
        (torch.complex64, 1),
    ],
)
def test_what_is_no_value_of_the_dtype_is_refused(dtype, zero):
    x = torch.zeros(3, dtype=dtype)
    for function in (
        torch_ebpc.compress,
        torch_ebpc.encode,
        torch_ebpc.count_bits,
        torch_ebpc.count_transmission_bits,
        torch_ebpc.symbol_statistics,
        lambda x, zero: torch_ebpc.ContainerEncoder(x.shape, x.dtype, zero=zero),
    ):
        with pytest.raises(ValueError, match=about("zero")):
            function(x, zero=zero)


def test_what_is_no_number_is_refused():
    x = torch.zeros(3)
    for zero in (True, [0], 1j):
        for function in (torch_ebpc.compress, torch_ebpc.encode, torch_ebpc.count_bits):
            with pytest.raises(TypeError, match=about("zero")):
                function(x, zero=zero)


def test_a_zero_that_narrow_words_do_not_have_is_refused():
    x = torch.zeros(3, dtype=torch.int16)
    for zero in (-2049, 2048):
        with pytest.raises(ValueError, match=about("zero")):
            torch_ebpc.compress(x, word_bits=12, zero=zero)


def test_the_word_of_a_value_is_its_bits():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float8_e5m2):
        for value in (0.0, -0.0, 1.0, -1.5, float("inf"), -float("inf")):
            assert word_of(value, dtype) == bits_of(torch.tensor(value).to(dtype)).item()
    assert word_of(-0.0, torch.float8_e5m2fnuz) == 0  # it has one zero alone
    assert word_of(2**32 - 1, torch.uint32) == 2**32 - 1
    assert word_of(-0.0, torch.int8) == word_of(0.0, torch.int64) == 0
    assert word_of(3.0, torch.int8) == 3
    nan = from_patterns([0x7FC1], torch.bfloat16).item()
    with pytest.raises(ValueError, match=about("zero")):
        word_of(nan, torch.bfloat16)


# ---- The meter -----------------------------------------------------------------------------------


class Quantized(torch.nn.Module):
    """A ReLU whose outputs are PyTorch's quantized tensors."""

    def __init__(self, zero_point: int) -> None:
        super().__init__()
        self.zero_point = zero_point
        self.layer = torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = torch.quantize_per_tensor(x.relu(), 0.05, self.zero_point, torch.qint8)
        return self.layer(q)


def measured(model, x, **arguments):
    return metered(model, x, torch.nn.Identity, verify=True, **arguments)[1]


def test_the_meter_takes_the_zero_point_of_quantized_tensors():
    torch.manual_seed(0)
    x = torch.randn(3, 500)
    row = measured(Quantized(0), x).rows[0]
    report = measured(Quantized(-100), x)
    (shifted,) = report.rows
    assert (row.zero, shifted.zero) == (0, -100)
    assert row.zeros == shifted.zeros == int((x <= 0.025).sum())
    assert shifted.zero_share == row.zero_share
    assert abs(shifted.ratio("ebpc") / row.ratio("ebpc") - 1) < 0.01
    assert shifted.ratio("zvc") == row.ratio("zvc")
    assert "zero points, the words that are zeros: layer#1 -100" in str(report)
    assert torch_ebpc.Report.from_json(report.to_json()).rows[0].zero == -100
    unaware = measured(Quantized(-100), x, zero=0).rows[0]
    assert unaware.zeros < row.zeros
    assert unaware.ratio("ebpc") < shifted.ratio("ebpc")


def test_the_meter_takes_the_zero_point_that_it_is_given():
    x = (relu_map(3 * 500).view(3, 500).to(torch.int16) - 128).to(torch.int8)
    (row,) = measured(torch.nn.Sequential(torch.nn.Identity()), x, zero=-128).rows
    assert row.zeros == int((x == -128).sum())
    assert row.bits_after("ebpc") == sum(torch_ebpc.count_bits(each, zero=-128) for each in x)
    with pytest.raises(TypeError, match=about("zero")):
        measured(torch.nn.Sequential(torch.nn.Identity()), x, zero="auto")


def test_a_zero_point_that_varies_is_said_to():
    model = Quantized(-100)
    with torch_ebpc.CompressionMeter(model, torch.nn.Identity, mode="observe") as meter:
        model(torch.randn(2, 50))
        model.zero_point = -90
        model(torch.randn(2, 50))
    (row,) = meter.report().rows
    assert row.zero is None
    assert row.zero_share > 0.4
    assert "layer#1 varies" in str(meter.report())


def test_both_zeros_of_floats_are_in_the_share_of_zeros():
    x = torch.tensor([[0.0, -0.0, -0.0, 2.0]])
    (row,) = measured(torch.nn.Sequential(torch.nn.Identity()), x).rows
    assert (row.zeros, row.negative_zeros, row.zero_share) == (1, 2, 0.75)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.complex128, torch.bool])
def test_words_of_any_dtype_are_measured(dtype):
    x = torch.randint(0, 2, (3, 40)).to(dtype)
    (row,) = measured(torch.nn.Sequential(torch.nn.Identity()), x).rows
    assert row.bits_before == 8 * x.nbytes
    assert row.bits_after("ebpc") == sum(torch_ebpc.count_bits(each) for each in x)
    assert row.verified_values == row.values


# ---- In models and files -------------------------------------------------------------------------


class Integers(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul(8).round().clamp(-128, 127).to(torch.int8)


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("form", [lambda model: model, torch.jit.script])
def test_an_inserted_layer_of_integers_has_the_zero_point_that_it_is_given(form):
    x = torch.randn(2, 3, 20, 20).relu() - 16
    model = torch.nn.Sequential(Integers())
    with torch_ebpc.CompressionMeter(
        model, Integers, zero=-128, methods=("ebpc", "zvc"), mode="insert"
    ) as meter:
        words = model(x)
    inserted = form(torch_ebpc.insert_compression(model, Integers, zero=-128, example_inputs=x))
    assert torch.equal(inserted(x), words)
    (row,), (expected,) = torch_ebpc.compression_report(inserted).rows, meter.report().rows
    assert (row.zero, row.zeros) == (-128, (words == -128).sum())
    assert row.container_bytes == expected.container_bytes
    assert row.position_bits == expected.position_bits
    assert row.value_bits == expected.value_bits


def test_inserted_layers_of_floating_point_have_no_zero_point():
    model = torch.nn.Sequential(torch.nn.ReLU(), Integers())
    layers = ["0", "1"]
    x = torch.randn(2, 30)
    with pytest.warns(UserWarning, match=about("0 is left without compression")):
        inserted = torch_ebpc.insert_compression(model, layers, zero=3, example_inputs=x)
    assert [
        row.layer for row in (inserted(x), torch_ebpc.compression_report(inserted))[1].rows
    ] == ["1"]
    scripted = torch.jit.script(torch_ebpc.insert_compression(torch.nn.ReLU(), zero=3))
    with pytest.raises(torch.jit.Error, match="zero must be 0"):
        scripted(x)


def test_saved_tensors_of_zeros_of_both_signs_are_as_small_as_they_can_be():
    x = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
    x = (x * (x.abs() > 1.5)).requires_grad_()
    ratios = {}
    for zero in ("auto", 0):
        with torch_ebpc.save_compressed(zero=zero, min_ratio=1.0) as saved:
            y = (x * 1).square()
        (row,) = saved.report().rows
        ratios[zero] = row.packed_tensor_bytes / row.container_bytes
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal((2 * x).view(torch.int32), gradient.view(torch.int32))
    assert ratios["auto"] > 1.3 * ratios[0]


def test_a_reported_estimate_knows_both_zeros():
    x = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
    x = (x * (x.abs() > 1.5)).requires_grad_()
    found = []
    for compress in (True, False):
        with torch_ebpc.save_compressed(compress=compress) as saved:
            (x * 1).square()
        found.append(saved.report().rows[0].container_bytes)
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_packed_weights_of_zeros_of_both_signs_are_as_small_as_they_can_be():
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    content = {"pruned": x * (x.abs() > 1.5), "ints": (x > 2).int() + 7}
    packed = torch_ebpc.pack(content)
    for name, tensor in content.items():
        assert torch.equal(packed[name], torch_ebpc.compress(tensor, zero="auto"))
        assert packed[name].numel() < 0.8 * torch_ebpc.pack(content, zero=0)[name].numel()
    assert torch_ebpc.inspect(torch_ebpc.pack(content, zero=7)["ints"]).zero == 7
