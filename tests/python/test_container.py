"""torch_ebpc.Container: a header that is read once, and parts that are read again and again."""

from __future__ import annotations

import concurrent.futures
import copy
import gc
import pickle

import pytest
import torch
from helpers import (
    DTYPES,
    NEW_DTYPES,
    about,
    assert_same_bits,
    feature_map,
    from_patterns,
    special_values,
)

import torch_ebpc

ALL_DTYPES = (*DTYPES, *NEW_DTYPES)
OPS = torch.ops.torch_ebpc


@pytest.mark.parametrize("codec", ["ebpc", "auto"])
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_every_dtype_comes_back_whole_in_parts_in_pieces_and_recovered(dtype, codec):
    x = feature_map(dtype, (5, 3, 701))
    packed = torch_ebpc.compress(x, codec=codec)
    assert packed.numel() <= torch_ebpc.max_compressed_bytes(x.shape, dtype)
    assert_same_bits(torch_ebpc.decompress(packed), x)
    container = torch_ebpc.Container(packed)
    assert container.info.dtype == dtype
    assert container.info.tensor_bytes == x.nbytes
    assert container.info.words * container.info.word_bits == 8 * x.nbytes
    assert_same_bits(container.decompress(), x)
    for index in (0, -1, slice(1, 4), slice(None, None, 2), slice(3, 3)):
        assert_same_bits(container[index], x[index])
        assert_same_bits(torch_ebpc.decompress(packed, index=index), x[index])
    recovered = container.recover()
    assert_same_bits(recovered.tensor, x)
    assert recovered.lost_words == ()
    encoder = torch_ebpc.ContainerEncoder(x.shape, dtype, codec=codec)
    payload = [encoder.push(part) for part in x.flatten().split(1000)]
    streamed = torch.cat([encoder.finish(), *payload])
    if not container.info.both_zeros and container.info.zero == 0:
        assert torch.equal(streamed, packed)
    for each in (packed, streamed):
        decoder = torch_ebpc.ContainerDecoder()
        parts = [part for piece in each.split(777) for part in decoder.push(piece)]
        decoder.finish()
        assert_same_bits(torch.cat(parts), x.flatten())


@pytest.mark.parametrize("codec", ["ebpc", "auto"])
def test_every_bit_pattern_comes_back(codec):
    def check(x):
        assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x, codec=codec)), x)

    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        check(special_values(dtype))
    for dtype in NEW_DTYPES:
        if dtype.itemsize == 1 and dtype != torch.bool:
            check(from_patterns(list(range(256)), dtype))
    doubles = special_values(torch.float64)
    check(torch.view_as_complex(doubles[: doubles.numel() // 2 * 2].view(-1, 2)))


def test_conjugates_and_negated_views_are_packed_as_their_values():
    x = torch.complex(torch.arange(1.0, 9), torch.arange(-4.0, 4)).view(2, 4)
    for each in (x.conj(), x.conj().imag, x.mH):
        assert each.is_conj() or each.is_neg()
        assert torch.equal(torch_ebpc.decompress(torch_ebpc.compress(each)), each)
        assert torch.equal(torch_ebpc.decode(torch_ebpc.encode(each)), each)
        bits = torch_ebpc.count_bits(each)
        assert bits == torch_ebpc.encode(each.resolve_conj().resolve_neg()).bits
        encoder = torch_ebpc.ContainerEncoder(each.shape, each.dtype)
        payload = encoder.push(each)
        packed = torch.cat([encoder.finish(), payload])
        assert torch.equal(torch_ebpc.Container(packed)[1], each[1])


def test_memory_formats_of_new_dtypes_come_back():
    x = feature_map(torch.int64, (2, 3, 4, 5)).contiguous(memory_format=torch.channels_last)
    container = torch_ebpc.Container(torch_ebpc.compress(x))
    assert_same_bits(container.decompress(), x)
    assert container.decompress().stride() == x.stride()
    assert container[1:].is_contiguous(memory_format=torch.channels_last)


# ---- Once read -----------------------------------------------------------------------------------


def test_the_header_is_read_once_and_of_the_rest_what_a_sample_needs():
    x = feature_map(torch.int16, (50, 4096))
    packed = torch_ebpc.compress(x)
    container = torch_ebpc.Container(packed)
    info = container.info
    # Bytes must not change while a container is open; that it does not notice shows that it does
    # not look at them again.
    packed[: info.header_bytes] = 0
    assert_same_bits(container[17], x[17])
    assert_same_bits(container[40:43], x[40:43])
    packed[info.header_bytes] ^= 1  # of the first segment
    packed[-1] ^= 1  # of the last one
    assert_same_bits(container[1:49], x[1:49])
    with pytest.raises(torch_ebpc.EBPCChecksumError, match="segment 49"):
        container[49]


def test_a_path_is_opened(tmp_path):
    x = feature_map(torch.float64, (6, 1000))
    path = tmp_path / "x.ebpc"
    torch_ebpc.write_file(path, x, x.shape, x.dtype)
    for each in (path, str(path)):
        assert_same_bits(torch_ebpc.Container(each)[3], x[3])
    with pytest.raises(FileNotFoundError):
        torch_ebpc.Container(tmp_path / "nothing")


def test_length_and_samples_are_those_of_the_first_dimension():
    x = feature_map(torch.int8, (4, 30))
    container = torch_ebpc.Container(torch_ebpc.compress(x))
    assert len(container) == 4
    for sample, expected in zip(container, x, strict=True):
        assert_same_bits(sample, expected)
    with pytest.raises(IndexError, match=about("index")):
        container[4]
    scalar = torch_ebpc.Container(torch_ebpc.compress(torch.tensor(2.5)))
    assert scalar.decompress() == 2.5
    with pytest.raises(TypeError, match="length"):
        len(scalar)


def test_limits_are_those_of_decompress():
    container = torch_ebpc.Container(torch_ebpc.compress(torch.zeros(10, 100)))
    assert container.read(3, max_bytes=400).shape == (100,)
    for refused in (
        lambda: container.read(3, max_bytes=399),
        lambda: container.decompress(max_bytes=3999),
        lambda: container.recover(max_bytes=3999),
    ):
        with pytest.raises(torch_ebpc.EBPCLimitError, match="max_bytes, 39"):
            refused()


# ---- Lost elements -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.complex128], ids=str)
def test_lost_elements_are_counted_in_elements(dtype):
    x = feature_map(dtype, (10, 1000))
    packed = torch_ebpc.compress(x)
    packed[-1] ^= 1
    recovered = torch_ebpc.recover(packed)
    words = torch_ebpc.inspect(packed).words // x.numel()
    first = (words * x.numel() - 1) // 4096 * 4096 // words
    assert recovered.lost_words == (range(first, 10_000),)
    assert recovered.lost_samples == (range(first // 1000, 10),)
    assert_same_bits(recovered.tensor.flatten()[:first], x.flatten()[:first])
    assert recovered.tensor.flatten()[first:].eq(0).all()


# ---- Objects -------------------------------------------------------------------------------------


def opened():
    packed = torch_ebpc.compress(torch.zeros(3))
    return [
        torch_ebpc.Container(packed),
        torch_ebpc.ContainerEncoder((3,), torch.int8),
        torch_ebpc.ContainerDecoder(),
    ]


def test_what_is_open_closes_with_its_object():
    handles = [each._handle for each in opened()]
    gc.collect()
    for handle, read in zip(
        handles, (OPS.container_info, OPS.encoder_header_bytes, OPS.decoder_info), strict=True
    ):
        with pytest.raises(RuntimeError, match=f"handle .*, got {handle}$"):
            read(handle)


def test_a_header_that_is_refused_leaves_nothing_open():
    before = torch_ebpc.ContainerDecoder()._handle
    with pytest.raises(torch_ebpc.EBPCFormatError):
        torch_ebpc.Container(torch.zeros(100, dtype=torch.uint8))
    assert torch_ebpc.ContainerDecoder()._handle == before + 1


@pytest.mark.parametrize("again", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_is_open_is_not_copied(again):
    for each in opened():
        with pytest.raises(TypeError, match=about(f"a {type(each).__name__}")):
            again(each)


def test_a_handle_of_another_kind_is_refused():
    container, encoder, decoder = opened()
    for handle in (encoder._handle, decoder._handle, -1, 2**62):
        with pytest.raises(RuntimeError, match="handle"):
            OPS.container_read(handle)
    with pytest.raises(RuntimeError, match="handle"):
        OPS.decoder_push(container._handle, torch.zeros(1, dtype=torch.uint8))


def test_threads_share_one():
    x = feature_map(torch.int32, (40, 1000))
    container = torch_ebpc.Container(torch_ebpc.compress(x))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for index, sample in enumerate(pool.map(container.__getitem__, list(range(40)) * 3)):
            assert_same_bits(sample, x[index % 40])


def test_the_bytes_live_as_long_as_the_container():
    x = feature_map(torch.int8, (4, 5000))
    packed = torch_ebpc.compress(x)
    container = torch_ebpc.Container(packed)
    del packed
    gc.collect()
    torch.zeros(20_000, dtype=torch.uint8).fill_(255)
    assert_same_bits(container.decompress(), x)
