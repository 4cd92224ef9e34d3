"""codec="auto": each segment in the smallest of several codings."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import DTYPES, assert_same_bits, feature_map, sample_tensors, special_values
from hypothesis import given
from hypothesis import strategies as st

import torch_ebpc

SEGMENT = 4096


def compress(x, **parameters):
    return torch_ebpc.compress(x, codec="auto", **parameters)


def smooth(dtype, count, zero_run, seed=0):
    """Slowly changing values; after every ten of them so many zeros."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-1, 2, (count,), generator=generator).cumsum(0).remainder(60) + 30
    return (values * (torch.arange(count) % (10 + zero_run) < 10)).to(dtype)


@pytest.mark.parametrize("x", sample_tensors(), ids=lambda x: f"{x.dtype}{tuple(x.shape)}")
def test_every_tensor_comes_back(x):
    packed = compress(x)
    assert_same_bits(torch_ebpc.decompress(packed), x)
    assert packed.numel() <= torch_ebpc.max_compressed_bytes(x.shape, x.dtype)
    info = torch_ebpc.inspect(packed)
    assert info.codec == "auto"
    assert info.format_version == 3
    assert (info.block_size, info.max_zero_run, info.base) == (None, None, None)
    assert sum(each.segments for each in info.codings) == info.segments
    assert sum(each.words for each in info.codings) == info.words == x.numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_every_bit_pattern_comes_back(dtype):
    x = special_values(dtype)
    assert_same_bits(torch_ebpc.decompress(compress(x)), x)


def test_memory_formats_and_strides_come_back():
    x = feature_map(torch.int16, (2, 3, 40, 41))
    for each in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(0, 3)):
        y = torch_ebpc.decompress(compress(each))
        assert_same_bits(y, each)
        if each.is_contiguous(memory_format=torch.channels_last):
            assert y.stride() == each.stride()


def zvc_bytes(x):
    """By the formula: a bit for each word, and the words that are not 0."""
    words = x.view({1: torch.int8, 2: torch.int16, 4: torch.int32}[x.element_size()])
    return (x.numel() + 8 * x.element_size() * int(words.count_nonzero())) // 8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("zero_run", [0, 2, 9, 500])
def test_it_is_never_larger_than_the_default_and_zvc(dtype, zero_run):
    x = smooth(dtype, 5 * SEGMENT + 17, zero_run)
    assert compress(x).numel() < min(torch_ebpc.compress(x).numel(), zvc_bytes(x))


def maps_of_networks():
    """What networks make that other coders once did better on: words that repeat, a few zeros in
    between, zeros of both signs, and zeros that became another constant."""
    generator = torch.Generator().manual_seed(1)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    dense = F.silu(randn(4 * SEGMENT))
    dense[:: SEGMENT // 2] = 0
    feature_map = F.avg_pool2d(F.relu(randn(1, 8, 66, 66)), 3, 1)
    sparse = F.relu(randn(1, 8, 64, 64) - 0.3)
    mean, scale = randn(1, 8, 1, 1), 1 + randn(1, 8, 1, 1).abs()
    return {
        "repeated 4 times": randn(16384 // 4).repeat_interleave(4),
        "repeated 8 times": randn(16384 // 4).repeat_interleave(8),
        "a few zeros": dense,
        "both zeros": randn(4 * SEGMENT) * (torch.rand(4 * SEGMENT, generator=generator) < 0.5),
        "pruned": randn(4 * SEGMENT) * (torch.rand(4 * SEGMENT, generator=generator) < 0.1),
        "ReLU, batch normalization": (sparse - mean) * scale,
        "max pool 3x3, stride 1": F.max_pool2d(feature_map, 3, 1),
        "max pool 5x5, stride 1": F.max_pool2d(sparse, 5, 1),
        "nearest 2x": F.interpolate(sparse, scale_factor=2),
        "nearest 8x": F.interpolate(sparse[:, :1], scale_factor=8),
        "Gaussian": randn(4 * SEGMENT),
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int8], ids=str)
@pytest.mark.parametrize("name", maps_of_networks())
def test_maps_that_repeat_or_have_few_zeros_are_smaller_than_by_default_and_zvc(name, dtype):
    x = maps_of_networks()[name]
    x = x.mul(24).clamp(-128, 127).to(dtype) if dtype == torch.int8 else x.to(dtype)
    packed = compress(x)
    assert_same_bits(torch_ebpc.decompress(packed), x)
    assert packed.numel() < min(torch_ebpc.compress(x).numel(), zvc_bytes(x))


def test_a_zero_in_each_segment_costs_little():
    x = F.silu(torch.randn(8 * SEGMENT, generator=torch.Generator().manual_seed(2))).bfloat16()
    without = compress(x.where(x != 0, 1.0)).numel()
    x[::SEGMENT] = 0
    assert compress(x).numel() < 1.04 * without  # it was 7 %


def test_words_that_repeat_are_told_once():
    x = torch.randn(2048, generator=torch.Generator().manual_seed(3)).bfloat16()
    once, often = compress(x).numel(), compress(x.repeat_interleave(8)).numel()
    assert often < 1.5 * once
    names = {each.coding for each in torch_ebpc.inspect(compress(x.repeat_interleave(8))).codings}
    assert names == {"entropy, mask of repeats"}


def test_segments_choose_for_themselves():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(1, 256, (SEGMENT,), generator=generator, dtype=torch.int64)
    half = noise * (torch.rand(SEGMENT, generator=generator) < 0.5)
    x = torch.cat(
        [
            torch.zeros(SEGMENT, dtype=torch.int64),
            noise,
            half,
            noise % 8,
            (noise % 8).repeat_interleave(4)[:SEGMENT],
            torch.arange(SEGMENT) % 200 + 1,
        ]
    ).to(torch.uint8)
    info = torch_ebpc.inspect(compress(x, zero=0))
    counts = {each.coding: each.segments for each in info.codings}
    assert counts == {
        "raw": 1,
        "entropy, mask": 2,
        "entropy": 1,
        "entropy, mask of repeats": 1,
        "N=63, no zeros": 1,
    }
    assert info.raw_segments == 1
    assert info.raw_words == SEGMENT
    assert info.ratio == x.numel() / compress(x, zero=0).numel()
    bits = info.zero_stream_bits + info.plane_stream_bits + 8 * SEGMENT
    assert info.stream_bits == bits
    assert bits <= 8 * (info.container_bytes - info.header_bytes) <= bits + 21 * info.segments


def test_what_is_written_without_it_does_not_change():
    x = smooth(torch.int8, 9000, 3)
    assert torch.equal(torch_ebpc.compress(x), torch_ebpc.compress(x, codec="ebpc"))
    assert torch_ebpc.inspect(torch_ebpc.compress(x)).format_version == 1


@pytest.mark.parametrize("name", ["compress", "open_encoder"])
def test_operators_take_it_after_what_saved_programs_pass(name):
    *_, codec, zero = getattr(torch.ops.torch_ebpc, name).default._schema.arguments
    assert (codec.name, codec.default_value) == ("codec", "ebpc")
    assert (zero.name, zero.default_value) == ("zero", 0)


@given(
    words=st.lists(st.integers(-8, 7), max_size=200),
    repeats=st.integers(1, 60),
    word_bits=st.sampled_from([4, 5, 8, 12, 16]),
)
def test_narrow_words_come_back(words, repeats, word_bits):
    x = torch.tensor(words * repeats, dtype=torch.int16)
    packed = compress(x, word_bits=word_bits)
    assert_same_bits(torch_ebpc.decompress(packed), x)
    assert torch_ebpc.inspect(packed).word_bits == word_bits


@given(
    shape=st.lists(st.integers(0, 25), min_size=1, max_size=3).map(tuple),
    cuts=st.lists(st.integers(0, 20_000), max_size=8),
    dtype=st.sampled_from(DTYPES),
    index=st.slices(25).filter(lambda index: index.step is None or index.step > 0),
)
def test_pieces_and_parts_are_those_of_the_whole(shape, cuts, dtype, index):
    x = feature_map(dtype, shape)
    packed = compress(x)
    encoder = torch_ebpc.ContainerEncoder(x.shape, x.dtype, codec="auto")
    payload = [encoder.push(part) for part in x.flatten().tensor_split(sorted(cuts))]
    assert torch.equal(torch.cat([encoder.finish(), *payload]), packed)
    decoder = torch_ebpc.ContainerDecoder()
    parts = [words for part in packed.tensor_split(sorted(cuts)) for words in decoder.push(part)]
    decoder.finish()
    assert_same_bits(torch.cat([x.new_empty(0), *parts]), x.flatten())
    assert decoder.info == torch_ebpc.inspect(packed)
    assert_same_bits(torch_ebpc.decompress(packed, index=index), x[index])


def test_a_damaged_segment_loses_itself_alone():
    x = torch.cat([smooth(torch.int16, SEGMENT, run) for run in (0, 2, 9, 500)]).view(4, SEGMENT)
    packed = compress(x)
    with pytest.raises(torch_ebpc.EBPCChecksumError, match="segment 3"):
        torch_ebpc.decompress(packed[:-1].new_tensor([*packed[:-1].tolist(), packed[-1] ^ 1]))
    packed[-1] ^= 1
    recovered = torch_ebpc.recover(packed)
    assert recovered.lost_samples == (range(3, 4),)
    assert torch.equal(recovered.tensor[:3], x[:3])
    assert torch.equal(torch_ebpc.decompress(packed, index=slice(3)), x[:3])


def test_a_file_is_written_with_it(tmp_path):
    x = smooth(torch.float32, 3 * SEGMENT, 2)
    path = tmp_path / "x.ebpc"
    size = torch_ebpc.write_file(path, x.split(5000), x.shape, x.dtype, codec="auto")
    packed = torch_ebpc.map_file(path)
    assert size == packed.numel()
    assert torch.equal(packed, compress(x))
    assert torch.equal(torch.cat(list(torch_ebpc.read_file(path))), x)


def test_every_kernel_writes_the_same_bytes():
    x = torch.cat([smooth(torch.int8, SEGMENT, run) for run in (0, 2, 9, 500)])
    expected = compress(x)
    for kernel in torch_ebpc.kernels():
        with torch_ebpc.use_kernel(kernel):
            assert torch.equal(compress(x), expected)
            assert torch.equal(torch_ebpc.decompress(expected), x)


def test_it_is_compiled_and_scripted():
    x = smooth(torch.float32, SEGMENT, 2).view(64, 64)

    def there_and_back(x: torch.Tensor) -> torch.Tensor:
        packed = torch.ops.torch_ebpc.compress(x, None, 8, 16, "sent", "auto")
        return torch.ops.torch_ebpc.decompress(packed, x.shape, x.dtype)

    assert torch.equal(torch.compile(there_and_back, fullgraph=True, backend="aot_eager")(x), x)

    def scripted(x: torch.Tensor) -> torch.Tensor:
        return torch.ops.torch_ebpc.compress(x, codec="auto")

    assert torch.equal(torch.jit.script(scripted)(x), compress(x))
