"""Containers in pieces and in files: the bytes of compress, whole or not at all."""

import errno
import gc
import os
import resource
import signal
import subprocess
import sys

import pytest
import torch
from helpers import about, assert_same_bits, at_byte, small_integers
from hypothesis import given
from hypothesis import strategies as st

import torch_ebpc


def encoded(x, parts, **parameters):
    encoder = torch_ebpc.ContainerEncoder(x.shape, x.dtype, **parameters)
    payload = [encoder.push(part) for part in parts]
    header = encoder.finish()
    assert header.numel() == encoder.header_bytes
    return torch.cat([header, *payload])


def decoded(parts):
    decoder = torch_ebpc.ContainerDecoder()
    words = [words for part in parts for words in decoder.push(part)]
    decoder.finish()
    return torch.cat([torch.empty(0, dtype=decoder.info.dtype), *words])


@pytest.mark.parametrize("dtype", torch_ebpc.ops.DTYPES, ids=str)
def test_pieces_give_the_bytes_and_words_of_one_go(dtype):
    for count in [0, 1, 4095, 4096, 4097, 20_000]:
        x = small_integers((count,), dtype)
        packed = torch_ebpc.compress(x)
        for size in [1000, 4096, 5000, 30_000]:
            assert torch.equal(encoded(x, x.split(size)), packed)
            assert_same_bits(decoded(packed.split(size)), x)


@given(
    shape=st.lists(st.integers(0, 25), max_size=3).map(tuple),
    cuts=st.lists(st.integers(0, 20_000), max_size=8),
    base=st.sampled_from(["sent", "reused"]),
    word_bits=st.integers(4, 16),
    block_size=st.integers(2, 64),
)
def test_any_pieces_of_any_shape(shape, cuts, base, word_bits, block_size):
    x = small_integers(shape, torch.int16).clamp(-7, 7)
    parameters = {"base": base, "word_bits": word_bits, "block_size": block_size}
    packed = torch_ebpc.compress(x, **parameters)
    assert torch.equal(encoded(x, x.flatten().tensor_split(sorted(cuts)), **parameters), packed)
    assert torch.equal(decoded(packed.tensor_split(sorted(cuts))), x.flatten())


def test_samples_of_a_channels_last_batch_can_be_pushed_one_by_one():
    x = small_integers((5, 3, 40, 41)).contiguous(memory_format=torch.channels_last)
    packed = torch_ebpc.compress(x)
    assert torch.equal(encoded(x, x, memory_format="channels_last"), packed)


def test_bytes_are_taken_as_well_and_words_come_in_bounded_pieces():
    x = torch.zeros(2_000_000, dtype=torch.int8)
    packed = torch_ebpc.compress(x)
    decoder = torch_ebpc.ContainerDecoder()
    sizes = [words.numel() for words in decoder.push(bytes(packed.tolist()))]
    decoder.finish()
    assert sizes == [2**20, 2_000_000 - 2**20]


def test_words_that_are_not_taken_come_with_the_next_push():
    x = small_integers((10_000,))
    packed = torch_ebpc.compress(x)
    decoder = torch_ebpc.ContainerDecoder()
    decoder.push(packed)
    assert decoder.info == torch_ebpc.inspect(packed)
    with pytest.raises(ValueError, match="before finish"):
        decoder.finish()
    assert torch.equal(torch.cat(list(decoder.push(b""))), x)
    decoder.finish()


def test_damage_and_cuts_are_noticed():
    packed = torch_ebpc.compress(small_integers((10_000,)))
    size = packed.numel()
    with pytest.raises(torch_ebpc.EBPCFormatError, match=at_byte(size - 1, "container bytes")):
        decoded([packed[:-1]])
    decoder = torch_ebpc.ContainerDecoder()
    decoder.push(packed[:40])
    with pytest.raises(torch_ebpc.EBPCFormatError, match=at_byte(40, "container bytes")):
        decoder.finish()
    with pytest.raises(torch_ebpc.EBPCFormatError, match=at_byte(size, "container bytes")):
        decoded([packed, packed[:1]])
    with pytest.raises(torch_ebpc.EBPCFormatError, match=at_byte(0, "magic")):
        decoded([packed[1:]])
    for at, what in [(60, "header"), (size - 1, "segment 2")]:
        damaged = packed.clone()
        damaged[at] ^= 1
        with pytest.raises(torch_ebpc.EBPCChecksumError, match=what):
            decoded(damaged.split(999))


def test_words_that_the_tensor_does_not_have_are_refused():
    encoder = torch_ebpc.ContainerEncoder((10,), torch.int16, word_bits=4)
    encoder.push(torch.ones(4, dtype=torch.int16))
    with pytest.raises(ValueError, match=r"6 words .*, got 7"):
        encoder.push(torch.ones(7, dtype=torch.int16))
    with pytest.raises(TypeError, match=about("x")):
        encoder.push(torch.ones(1, dtype=torch.int8))
    with pytest.raises(ValueError, match="got 8 at index 9"):
        encoder.push(torch.tensor([1, 2, 3, 4, 5, 8], dtype=torch.int16))
    with pytest.raises(ValueError, match=r"10 words .*, got 4"):
        encoder.finish()
    assert encoder.push(torch.ones(6, dtype=torch.int16)).numel() > 0
    encoder.finish()


def test_parameters_are_checked_at_once():
    for error, arguments in (
        (TypeError, {"dtype": torch.quint8}),
        (ValueError, {"block_size": 65}),
        (TypeError, {"block_size": "8"}),
        (ValueError, {"memory_format": "foo"}),
        (TypeError, {"memory_format": None}),
    ):
        (name,) = arguments
        with pytest.raises(error, match=about(name)):
            torch_ebpc.ContainerEncoder(**{"shape": (9,), "dtype": torch.int8} | arguments)
    for shape in ((9,), ()):
        with pytest.raises(ValueError, match=about("the memory format")):
            torch_ebpc.ContainerEncoder(shape, torch.int8, "channels_last")


def test_a_tensor_without_dimensions_is_pushed():
    x = torch.tensor(5.0)
    assert torch.equal(encoded(x, [x]), torch_ebpc.compress(x))


def test_pieces_are_pushed_in_and_out_of_inference_mode():
    x = small_integers((10_000,))
    packed = torch_ebpc.compress(x)
    with torch.inference_mode():
        encoder = torch_ebpc.ContainerEncoder(x.shape, x.dtype)
        decoder = torch_ebpc.ContainerDecoder()
        payload = [encoder.push(x[:5000])]
        words = list(decoder.push(packed[:500]))
    payload.append(encoder.push(x[5000:]))
    assert torch.equal(torch.cat([encoder.finish(), *payload]), packed)
    words += decoder.push(packed[500:])
    decoder.finish()
    assert torch.equal(torch.cat(words), x)


def test_the_default_device_does_not_matter():
    x = small_integers((10_000,))
    packed = torch_ebpc.compress(x)
    with torch.device("meta"):
        encoder = torch_ebpc.ContainerEncoder(x.shape, x.dtype)
        payload = [encoder.push(part) for part in x.split(3000)]
        header = encoder.finish()
        decoder = torch_ebpc.ContainerDecoder()
        words = [*decoder.push(b""), *decoder.push(bytes(packed.tolist()))]
        decoder.finish()
    assert torch.equal(torch.cat([header, *payload]), packed)
    assert torch.equal(torch.cat(words), x)


def test_small_pieces_need_no_memory_for_each():
    encoder = torch_ebpc.ContainerEncoder((4000,), torch.int8)
    word = torch.zeros(1, dtype=torch.int8)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(3000):
        encoder.push(word)
    gc.collect()
    assert len(gc.get_objects()) < before + 100


def test_what_are_no_bytes_is_refused_and_nothing_is_taken():
    packed = torch_ebpc.compress(torch.zeros(10))
    decoder = torch_ebpc.ContainerDecoder()
    for data in (5, None, [1, 2, 3], "x"):
        with pytest.raises(TypeError, match=about("data")):
            decoder.push(data)
    with pytest.raises(ValueError, match=about("data")):
        decoder.push(packed[None])
    for data in (bytearray(packed[:9].tolist()), packed[9:].numpy()):
        words = list(decoder.push(data))
    assert torch.equal(torch.cat(words), torch.zeros(10))
    decoder.finish()


def test_damage_is_said_again():
    packed = torch_ebpc.compress(small_integers((10_000,)))
    start = torch_ebpc.inspect(packed).header_bytes
    for at, what in [(60, "header"), (start, "segment 0"), (packed.numel() - 1, "segment 2")]:
        damaged = packed.clone()
        damaged[at] ^= 1
        decoder = torch_ebpc.ContainerDecoder()
        for call in (
            lambda decoder, damaged: list(decoder.push(damaged)),
            lambda decoder, damaged: decoder.push(b"1"),
            lambda decoder, damaged: decoder.finish(),
        ):
            with pytest.raises(torch_ebpc.EBPCChecksumError, match=what):
                call(decoder, damaged)


# ---- Files ---------------------------------------------------------------------------------------


def test_a_file_has_the_bytes_of_compress_and_is_read_in_parts(tmp_path):
    x = small_integers((7, 5000), torch.float16)
    path = tmp_path / "x.ebpc"
    size = torch_ebpc.write_file(path, x, x.shape, x.dtype)
    assert path.read_bytes() == bytes(torch_ebpc.compress(x).tolist())
    assert size == path.stat().st_size
    assert os.listdir(tmp_path) == ["x.ebpc"]
    assert torch.equal(torch.cat(list(torch_ebpc.read_file(path))), x.flatten())
    mapped = torch_ebpc.map_file(path)
    assert torch.equal(torch_ebpc.decompress(mapped), x)
    assert torch.equal(torch_ebpc.decompress(mapped, index=3), x[3])


def test_a_failure_leaves_what_was_there_before(tmp_path):
    path = tmp_path / "x.ebpc"
    path.write_bytes(b"before")

    def parts():
        yield torch.zeros(5000)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        torch_ebpc.write_file(path, parts(), (10_000,), torch.float32)
    with pytest.raises(ValueError, match=r"10000 words .*, got 1"):
        torch_ebpc.write_file(path, [torch.zeros(1)], (10_000,), torch.float32)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.ebpc"]


def test_until_all_is_written_the_file_is_not_there(tmp_path):
    path = tmp_path / "x.ebpc"
    with torch_ebpc.files.whole_file(path) as file:
        file.write(b"all")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"all"


def test_a_link_is_followed_and_a_device_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with torch_ebpc.files.whole_file(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"x"
    with (
        pytest.raises(OSError, match=about("/dev/null")),
        torch_ebpc.files.whole_file(os.devnull),
    ):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        torch_ebpc.write_file(tmp_path / "nowhere" / "x", [], (0,), torch.int8)


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "x.ebpc"
    with pytest.raises(OSError, match=f"No space left on device: '{path}'") as raised:
        torch_ebpc.write_file(path, [torch.zeros(5)], (5,), torch.float32)
    assert raised.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


WRITER = """
import sys, torch, torch_ebpc
noise = torch.randint(-128, 128, (1 << 20,)).to(torch.int8)
def parts():
    for i in range(8):
        print(i, flush=True)
        yield noise
torch_ebpc.write_file(sys.argv[1], parts(), (8 << 20,), torch.int8)
"""


def test_a_file_that_may_not_grow_leaves_nothing_behind(tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))

    command = [sys.executable, "-c", WRITER, str(tmp_path / "x")]
    run = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert f"File too large: '{tmp_path / 'x'}'" in run.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_kill_leaves_no_part_of_the_file(tmp_path, signum):
    path = tmp_path / "x"
    command = [sys.executable, "-c", WRITER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as writer:
        while (line := writer.stdout.readline()) != "3\n":
            assert line, writer.stderr.read()
        writer.send_signal(signum)
        writer.communicate()
    # A signal that comes too late finds the whole file.
    if path.exists():
        assert torch_ebpc.inspect(torch_ebpc.map_file(path)).words == 8 << 20
    if signum == signal.SIGINT:
        assert set(os.listdir(tmp_path)) <= {"x"}
