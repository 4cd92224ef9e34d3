"""Parts of containers: samples, what is left of a damaged one, and how large one can be."""

import itertools
import tracemalloc

import pytest
import torch
from helpers import about, assert_same_bits, at_byte, small_integers
from hypothesis import given, settings
from hypothesis import strategies as st

import torch_ebpc

# ---- decompress(index=...) -----------------------------------------------------------------------

INDICES = [0, 3, -1, -7, slice(2, 5), slice(None), slice(1, 6, 2), slice(5, 2), slice(-2, None)]


@pytest.mark.parametrize("dtype", torch_ebpc.ops.DTYPES, ids=str)
def test_an_index_gives_what_slicing_gives(dtype):
    for shape in [(7,), (7, 3, 33, 60), (7, 4096), (7, 0), (7, 1, 5000)]:
        x = small_integers(shape, dtype)
        packed = torch_ebpc.compress(x)
        for index in INDICES:
            part = torch_ebpc.decompress(packed, index=index)
            assert part.shape == x[index].shape
            assert part.dtype == dtype
            assert_same_bits(part, x[index])


@pytest.mark.parametrize(
    ("shape", "memory_format"),
    [((7, 3, 20, 31), torch.channels_last), ((7, 3, 4, 20, 31), torch.channels_last_3d)],
)
def test_an_index_keeps_the_memory_format(shape, memory_format):
    x = small_integers(shape).contiguous(memory_format=memory_format)
    packed = torch_ebpc.compress(x)
    for index in INDICES:
        part = torch_ebpc.decompress(packed, index=index)
        assert torch.equal(part, x[index])
        if part.numel() > 0:
            assert part.stride() == x[index].stride()


def test_an_index_reads_only_the_segments_that_it_needs():
    x = small_integers((4, 4096))
    packed = torch_ebpc.compress(x)
    packed[-1] ^= 1
    assert torch.equal(torch_ebpc.decompress(packed, index=slice(0, 3)), x[:3])
    with pytest.raises(torch_ebpc.EBPCChecksumError, match="segment 3"):
        torch_ebpc.decompress(packed, index=3)


@given(
    shape=st.lists(st.integers(0, 20), min_size=1, max_size=4).map(tuple),
    bounds=st.tuples(*[st.none() | st.integers(-25, 25)] * 2),
    step=st.none() | st.integers(1, 5),
)
def test_any_slice_of_any_shape(shape, bounds, step):
    x = small_integers(shape, torch.int16)
    index = slice(*bounds, step)
    assert torch.equal(torch_ebpc.decompress(torch_ebpc.compress(x), index=index), x[index])


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_that_no_sample_has_is_refused(index):
    with pytest.raises(IndexError, match=about("index")):
        torch_ebpc.decompress(torch_ebpc.compress(small_integers((3, 4))), index=index)


@pytest.mark.parametrize("index", [1.0, True, torch.tensor(True), torch.tensor(2.0)])
def test_what_is_no_index_is_refused(index):
    with pytest.raises(TypeError, match=about("index")):
        torch_ebpc.decompress(torch_ebpc.compress(small_integers((3, 4))), index=index)


def test_the_operator_refuses_a_range_that_the_tensor_has_not():
    ops = torch.ops.torch_ebpc
    handle = ops.open_container(torch_ebpc.compress(small_integers((10,), torch.int64)))
    for first, elements in [(0, 11), (11, 0), (2**62, 2**62), (1, 2**63 - 1)]:
        with pytest.raises(RuntimeError, match=rf"elements .*, got {elements} from {first}$"):
            ops.container_range(handle, first, elements)
    ops.close(handle)
    with pytest.raises(RuntimeError, match=f"handle .*, got {handle}$"):
        ops.container_range(handle, 0, 1)


# ---- max_bytes -----------------------------------------------------------------------------------


def test_a_tensor_larger_than_max_bytes_is_refused():
    x = small_integers((100, 100), torch.int16)
    packed = torch_ebpc.compress(x)
    assert torch.equal(torch_ebpc.decompress(packed, max_bytes=20_000), x)
    assert torch.equal(torch_ebpc.decompress(packed, index=5, max_bytes=200), x[5])
    message = "20000 bytes, more than max_bytes, 19999"
    for refused in (torch_ebpc.decompress, torch_ebpc.recover):
        with pytest.raises(torch_ebpc.EBPCLimitError, match=message):
            refused(packed, max_bytes=19_999)
    with pytest.raises(torch_ebpc.EBPCLimitError, match="max_bytes, 199"):
        torch_ebpc.decompress(packed, index=5, max_bytes=199)


def test_a_bomb_is_refused_by_default_and_can_be_allowed():
    # 1 GiB of zeros and one word more, expanded, so that no memory is needed to make them.
    x = torch.zeros((), dtype=torch.int64).expand(2**19)
    encoder = torch_ebpc.ContainerEncoder([2**27 + 1], x.dtype, max_zero_run=65536)
    payload = [encoder.push(x) for _ in range(256)]
    bomb = torch.cat([*payload, encoder.push(x[:1])])
    bomb = torch.cat([encoder.finish(), bomb])
    assert torch_ebpc.inspect(bomb).tensor_bytes == 2**30 + 8 > 300 * bomb.numel()
    with pytest.raises(torch_ebpc.EBPCLimitError, match=r"1073741832 bytes, .*1073741824;"):
        torch_ebpc.decompress(bomb)
    assert torch_ebpc.decompress(bomb, index=slice(0, 4096)).eq(0).all()


def segment_ends(packed):
    """Where the segments of a container of version 1 end."""
    info = torch_ebpc.inspect(packed)
    table = bytes(packed[48 + 8 * len(info.shape) : info.header_bytes - 4].tolist())
    sizes = [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 8)]
    assert all(size >> 28 == 1 for size in sizes)  # EBPC: a raw one has no sizes there
    return list(
        itertools.accumulate(
            ((size & 0x3FFF) + (size >> 14 & 0x3FFF) for size in sizes), initial=info.header_bytes
        )
    )[1:]


# ---- recover -------------------------------------------------------------------------------------


def test_an_intact_container_has_lost_nothing():
    x = small_integers((5, 3, 30, 31)).contiguous(memory_format=torch.channels_last)
    recovered = torch_ebpc.recover(torch_ebpc.compress(x))
    assert torch.equal(recovered.tensor, x)
    assert recovered.tensor.is_contiguous(memory_format=torch.channels_last)
    assert recovered.lost_words == ()
    assert recovered.lost_samples == ()


def test_a_damaged_segment_loses_that_segment_only_and_its_samples_are_named():
    x = small_integers((10, 1000)) + 1
    packed = torch_ebpc.compress(x)
    packed[-1] ^= 1  # words 8192 to 9999
    recovered = torch_ebpc.recover(packed)
    assert recovered.lost_words == (range(8192, 10_000),)
    assert recovered.lost_samples == (range(8, 10),)
    expected = x.clone()
    expected.view(-1)[8192:] = 0
    assert torch.equal(recovered.tensor, expected)


def test_a_cut_loses_what_is_after_it():
    x = small_integers((3, 4096))
    packed = torch_ebpc.compress(x)
    header_bytes = torch_ebpc.inspect(packed).header_bytes
    recovered = torch_ebpc.recover(packed[:header_bytes])
    assert recovered.lost_words == (range(0, 3 * 4096),)
    assert recovered.lost_samples == (range(0, 3),)
    assert torch_ebpc.recover(packed[:-1]).lost_samples == (range(2, 3),)
    with pytest.raises(torch_ebpc.EBPCFormatError, match=at_byte(20, "header bytes")):
        torch_ebpc.recover(packed[: header_bytes - 1])
    with pytest.raises(torch_ebpc.EBPCChecksumError, match="header"):
        torch_ebpc.recover(torch.cat([packed[:60], packed[60:61] ^ 1, packed[61:]]))


def test_lost_samples_are_ranges_that_do_not_touch():
    x = small_integers((6 * 8, 512)) % 5 + 1  # 8 samples in each segment
    packed = torch_ebpc.compress(x)
    info = torch_ebpc.inspect(packed)
    ends = segment_ends(packed)
    for segment in (0, 2, 3, 5):
        packed[ends[segment] - 1] ^= 1
    recovered = torch_ebpc.recover(packed)
    assert recovered.lost_samples == (range(0, 8), range(16, 32), range(40, 48))
    lost = recovered.tensor.view(-1, 4096).eq(0).all(1).nonzero().flatten().tolist()
    assert lost == [0, 2, 3, 5]
    assert info.segments == 6

    # A sample that two lost ranges end and begin in is named once.
    packed = torch_ebpc.compress(small_integers((3, 12_000)) % 5 + 1)
    ends = segment_ends(packed)
    for segment in (0, 2, 8):
        packed[ends[segment] - 1] ^= 1
    recovered = torch_ebpc.recover(packed)
    assert recovered.lost_words == (
        range(0, 4096),
        range(8192, 12_288),
        range(32_768, 36_000),
    )
    assert recovered.lost_samples == (range(0, 3),)


def test_what_is_lost_needs_no_memory_for_each_sample():
    x = torch.zeros((), dtype=torch.int8).expand(1 << 20)
    packed = torch_ebpc.compress(x)
    header = packed[: torch_ebpc.inspect(packed).header_bytes]
    tracemalloc.start()
    try:
        recovered = torch_ebpc.recover(header)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert recovered.lost_samples == (range(0, 1 << 20),)
    assert peak < 100_000


def test_a_tensor_without_dimensions_has_no_samples_to_lose():
    packed = torch_ebpc.compress(torch.tensor(5.0))
    packed[-1] ^= 1
    recovered = torch_ebpc.recover(packed)
    assert recovered.lost_words == (range(0, 1),)
    assert recovered.lost_samples == ()
    assert recovered.tensor == 0


# ---- max_compressed_bytes ------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    dtype=st.sampled_from(torch_ebpc.ops.DTYPES),
    shape=st.lists(st.integers(0, 12), max_size=5).map(tuple),
    block_size=st.integers(2, 64),
    max_zero_run=st.sampled_from([2**k for k in range(1, 17)]),
    base=st.sampled_from(["sent", "reused"]),
    seed=st.integers(0, 2**32),
    zeros=st.floats(0, 1),
)
def test_no_container_is_larger_than_the_bound(
    dtype, shape, block_size, max_zero_run, base, seed, zeros
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (*shape, dtype.itemsize), generator=generator, dtype=torch.uint8)
    keep = torch.rand(shape, generator=generator) >= zeros
    x = (x * keep.unsqueeze(-1)).view(dtype).view(shape)
    packed = torch_ebpc.compress(x, block_size=block_size, max_zero_run=max_zero_run, base=base)
    bound = torch_ebpc.max_compressed_bytes(shape, dtype)
    assert packed.numel() <= bound
    assert 100 * bound <= 101 * x.nbytes + 26_000
    y = torch_ebpc.decompress(packed)
    assert y.shape == x.shape
    assert torch.equal(y.flatten().view(torch.uint8), x.flatten().view(torch.uint8))


@given(
    dtype=st.sampled_from(torch_ebpc.ops.DTYPES),
    shape=st.lists(st.integers(0, 2**20), max_size=3).map(tuple),
)
def test_the_bound_is_the_tensor_and_one_percent_and_260_bytes(dtype, shape):
    tensor_bytes = dtype.itemsize
    for size in shape:
        tensor_bytes *= size
    assert 100 * torch_ebpc.max_compressed_bytes(shape, dtype) <= 101 * tensor_bytes + 26_000
