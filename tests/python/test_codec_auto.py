"""codec="auto": each segment in the smallest of several codings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sample_inputs import DTYPES, assert_same_bits, feature_map, sample_tensors, special_values

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
    assert info.format_version == (3 if info.both_zeros else 2)
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


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("zero_run", [0, 2, 9, 500])
def test_it_is_never_larger_than_what_it_chooses_from(dtype, zero_run):
    x = smooth(dtype, 5 * SEGMENT + 17, zero_run)
    size = compress(x).numel()
    for block_size in (15, 31, 63):
        for max_zero_run in (16, 256):
            fixed = torch_ebpc.compress(x, None, block_size, max_zero_run, "reused")
            assert size <= fixed.numel()
    zvc = sum(torch_ebpc.encode(part, method="zvc").bits for part in x.split(SEGMENT))
    assert size <= zvc // 8 + 60 + 10 * 6
    assert size < torch_ebpc.compress(x).numel()


def test_segments_choose_for_themselves():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(1, 256, (SEGMENT,), generator=generator, dtype=torch.int64)
    half = noise * (torch.rand(SEGMENT, generator=generator) < 0.5)
    x = torch.cat(
        [
            torch.zeros(SEGMENT, dtype=torch.int64),
            noise,
            half,
            smooth(torch.int64, SEGMENT, 0),
            smooth(torch.int64, SEGMENT, 2),
            smooth(torch.int64, SEGMENT, 9),
            smooth(torch.int64, SEGMENT, 500),
        ]
    ).to(torch.uint8)
    info = torch_ebpc.inspect(compress(x))
    counts = {each.coding: each.segments for each in info.codings}
    assert counts.pop("words, R=256") == counts.pop("raw") == counts.pop("words, mask") == 1
    zeros = {name.split(", ")[1]: count for name, count in counts.items()}
    assert zeros == {"no zeros": 1, "mask": 1, "R=16": 1, "R=256": 1}
    assert info.raw_segments == 1
    assert info.raw_words == SEGMENT
    assert info.ratio == x.numel() / compress(x).numel()
    bits = info.zero_stream_bits + info.plane_stream_bits + 8 * SEGMENT
    assert info.stream_bits == bits
    assert bits <= 8 * (info.container_bytes - info.header_bytes) <= bits + 14 * info.segments


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
    with pytest.raises(torch_ebpc.EBPCChecksumError, match=r"\(segment 3\)"):
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
