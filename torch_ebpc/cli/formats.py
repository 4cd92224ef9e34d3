"""Files of tensors: what they are, and how they are packed and unpacked.

A packed .pt or .safetensors file is a file of the same kind in which each uint8 tensor is a
container (see :func:`torch_ebpc.pack`), so that any program that reads such files can open
it. It is marked: a .pt file is a dict ``{"torch_ebpc_packed": 1, "content": ...}``, a .safetensors
file has a metadata entry ``torch_ebpc_packed``, ``"1"``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

import torch_ebpc
from torch_ebpc.cli.streams import progress

_MARK = "torch_ebpc_packed"
_VERSION = 1
_PART_WORDS = 1 << 22
_ML_DTYPES = (
    "A .npy file does not say which of ml_dtypes' types it holds: if bfloat16, save"
    " array.view('uint16'), if one of 8 bits, array.view('uint8'), which keeps every bit"
)

Kind = Literal["container", "npy", "pt", "safetensors"]
Converter = Callable[[Path, BinaryIO, str, argparse.Namespace], None]
"""Reads a file and writes another, given the other's name for the user and the options."""


def kind_of(path: Path) -> Kind:
    """By a file's first bytes.

    Raises:
        ValueError: they are of no kind that is known.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"\x89EBPC"):
        return "container"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "pt"
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    raise ValueError(
        "expected a .npy, .pt or .safetensors file or a container, found none of them: "
        + (f"it begins with {start[:8].hex(' ')}" if start else "it is empty")
    )


# ---- .npy and containers -------------------------------------------------------------------------


def read_npy(path: Path) -> Tensor:
    """The array, in memory only where it is looked at.

    Raises:
        TypeError: PyTorch has no such dtype.
        ValueError: it is not a .npy file, or holds Python objects.
    """
    import numpy as np

    try:
        array: Any = np.load(path, mmap_mode="c", allow_pickle=False)
    except ValueError as error:
        if "dtype descriptor" in str(error):  # as of float8_e5m2
            raise TypeError(f"{error}. {_ML_DTYPES}") from error
        raise
    if not array.dtype.isnative:
        raise TypeError(f"expected the byte order of this CPU, found {array.dtype.str}")
    if array.dtype.kind not in "biufc":
        hint = f". {_ML_DTYPES}" if array.dtype.kind == "V" and not array.dtype.names else ""
        raise TypeError(f"expected numbers, found {array.dtype}{hint}")
    return torch.from_numpy(array)


def _parts(x: Tensor) -> Iterator[Tensor]:
    if x.is_contiguous():
        yield from torch.split(x.view(-1), _PART_WORDS)
    elif x.dim() > 0 and x.numel() > 0:
        yield from torch.split(x, max(1, _PART_WORDS * x.shape[0] // x.numel()))


def _compress_npy(path: Path, file: BinaryIO, target: str, options: argparse.Namespace) -> None:
    x = read_npy(path)
    if options.zero == "auto":  # for which all words have to be there
        file.write(torch_ebpc.compress(x, options.word_bits, **_code(options)).numpy().data)
        return
    encoder = torch_ebpc.ContainerEncoder(
        tuple(x.shape), x.dtype, word_bits=options.word_bits, **_code(options)
    )
    file.seek(encoder.header_bytes)
    with progress("compressing", x.nbytes, quiet=options.quiet) as bar:
        for part in _parts(x):
            file.write(encoder.push(part).numpy().data)
            bar.update(part.nbytes)
    file.seek(0)
    file.write(encoder.finish().numpy().data)


def _decompress_container(
    path: Path, file: BinaryIO, target: str, options: argparse.Namespace
) -> None:
    info = torch_ebpc.inspect(torch_ebpc.map_file(path))
    _check_size(info.tensor_bytes, info.container_bytes, options.max_bytes)
    if Path(target).suffix in (".pt", ".pth"):
        x = torch_ebpc.decompress(torch_ebpc.map_file(path), max_bytes=info.tensor_bytes)
        _save_pt(x, file)
        return
    import numpy as np

    try:
        described = torch.empty(0, dtype=info.dtype).numpy().dtype.str
    except TypeError:
        name = str(info.dtype).removeprefix("torch.")
        raise ValueError(f"NumPy has no {name}: give --output NAME.pt") from None
    header = {
        "descr": described,
        "fortran_order": False,
        "shape": info.shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
    with progress("decompressing", info.tensor_bytes, quiet=options.quiet) as bar:
        for words in torch_ebpc.read_file(path):
            file.write(words.numpy().data)
            bar.update(words.nbytes)


def _check_size(tensor_bytes: int, container_bytes: int, max_bytes: int | None) -> None:
    """The limit of :func:`torch_ebpc.decompress`, for what does not go through that."""
    limit = max(1 << 30, 64 * container_bytes) if max_bytes is None else max_bytes
    if tensor_bytes > limit:
        raise torch_ebpc.EBPCLimitError(
            f"expected tensors of at most {limit} bytes, found {tensor_bytes}"
        )


# ---- .pt -----------------------------------------------------------------------------------------


def read_pt(path: Path, max_bytes: int | None) -> tuple[Any, bool]:
    """What the file holds, and whether it is packed.

    Args:
        max_bytes: of all tensors written out in full, since one that is expanded takes next to
            nothing in a file, and of what the archive unpacks to. By default 1 GiB, or 64 times
            the bytes of the file if that is more.

    Raises:
        EBPCLimitError: there are more bytes.
        ValueError: it is not a file of torch.save, or not of tensors and plain containers alone.
    """
    size = path.stat().st_size
    members = []
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"  # as older files of torch.save are not
    if is_zip:
        if not zipfile.is_zipfile(path):
            raise ValueError("expected a file of torch.save, found only the beginning of one")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    if any(each.filename.partition("/")[2].startswith("code/") for each in members):
        raise ValueError("expected tensors, found a TorchScript program")
    if any(each.filename.endswith(".npy") for each in members):
        raise ValueError("expected a file of torch.save, found an .npz archive: extract it")
    _check_size(sum(each.file_size for each in members), size, max_bytes)
    content = _loaded(path)
    packed = isinstance(content, dict) and _MARK in content
    if packed:
        _check_version(content[_MARK])
        if "content" not in content:
            raise ValueError(f"expected the keys {_MARK} and content, found no content")
        content = content["content"]
    _check_size(sum(held_bytes(x) for _, x in named_tensors(content)), size, max_bytes)
    return content, packed


def _loaded(path: Path) -> Any:
    """Raises:
    ValueError: as :func:`read_pt`.
    """
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # Nested tensors can be loaded when this is imported, which takes seconds.
            if "torch._dynamo" not in str(error):
                raise
            importlib.import_module("torch._dynamo")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and PyTorch's own
        # PyTorch gives the reason after paragraphs of advice.
        reason = re.search(r"WeightsUnpickler error: (.*)", str(error))
        raise ValueError(
            "expected a file that torch.load(weights_only=True) reads, found:"
            f" {reason[1] if reason else str(error).splitlines()[0]}"
        ) from error


_SPARSE_PARTS = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}


def held_bytes(x: Tensor) -> int:
    """A tensor's bytes, written out in full where it is expanded: of a sparse one those of values
    and indices, of one without data none."""
    if x.is_meta:
        return 0
    if x.layout in _SPARSE_PARTS:
        return sum(getattr(x.detach(), part)().nbytes for part in _SPARSE_PARTS[x.layout])
    return x.nbytes


def named_tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dicts, lists and tuples, by its keys and indices."""
    seen: set[int] = set()  # lists can hold themselves

    def visit(name: str, item: Any) -> Iterator[tuple[str, Tensor]]:
        if isinstance(item, Tensor):
            yield name, item
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            for key, value in item.items() if isinstance(item, dict) else enumerate(item):
                yield from visit(f"{name}.{key}" if name else str(key), value)

    return visit("", content)


def _check_version(version: object) -> None:
    if str(version) != str(_VERSION):
        raise ValueError(f"packed version: expected {_VERSION}, found {version}")


def _compress_pt(path: Path, file: BinaryIO, target: str, options: argparse.Namespace) -> None:
    content, packed = read_pt(path, options.max_bytes)
    check_packed(packed, expected=False)
    with progress("compressing", path.stat().st_size, quiet=options.quiet) as bar:
        content = torch_ebpc.pack(content, **_code(options), progress=bar.update)
    _save_pt({_MARK: _VERSION, "content": content}, file)


def _decompress_pt(path: Path, file: BinaryIO, target: str, options: argparse.Namespace) -> None:
    content, packed = read_pt(path, options.max_bytes)
    check_packed(packed, expected=True)
    with progress("decompressing", path.stat().st_size, quiet=options.quiet) as bar:
        content = torch_ebpc.unpack(content, options.max_bytes, progress=bar.update)
    _save_pt(content, file)


def _save_pt(content: Any, file: BinaryIO) -> None:
    """Raises:
    OSError: what the file says, on a full disk for example.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # PyTorch tries to finish its archive nevertheless, and says that this did not work.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _code(options: argparse.Namespace) -> dict[str, Any]:
    names = ("block_size", "max_zero_run", "base", "codec")
    zero = {} if options.zero is None else {"zero": options.zero}
    return {name: getattr(options, name) for name in names} | zero


def check_packed(packed: bool, *, expected: bool) -> None:
    """Raises:
    ValueError: a file is packed and should not be, or the other way round.
    """
    if packed != expected:
        raise ValueError(f"it is {'compressed already' if packed else 'not compressed'}")


# ---- .safetensors --------------------------------------------------------------------------------


def _compress_safetensors(
    path: Path, file: BinaryIO, target: str, options: argparse.Namespace
) -> None:
    from safetensors.torch import save

    tensors = {}
    with open_safetensors(path) as (source, metadata, packed):
        check_packed(packed, expected=False)
        with progress("compressing", path.stat().st_size, quiet=options.quiet) as bar:
            for name in source.keys():  # noqa: SIM118 (it is not a dict)
                x = source.get_tensor(name)
                tensors[name] = torch_ebpc.pack(x, **_code(options), progress=bar.update)
    # Not save_file: it writes another file, which would then be in the place of this one.
    file.write(save(tensors, {**metadata, _MARK: str(_VERSION)}))


def _decompress_safetensors(
    path: Path, file: BinaryIO, target: str, options: argparse.Namespace
) -> None:
    from safetensors.torch import save

    with open_safetensors(path) as (source, metadata, packed):
        check_packed(packed, expected=True)
        content = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118
    with progress("decompressing", path.stat().st_size, quiet=options.quiet) as bar:
        tensors = torch_ebpc.unpack(content, options.max_bytes, progress=bar.update)
    del metadata[_MARK]
    file.write(save(tensors, metadata or None))


@contextlib.contextmanager
def open_safetensors(path: Path) -> Iterator[tuple[Any, dict[str, str], bool]]:
    """The open file, its metadata, and whether it is packed.

    Raises:
        ValueError: it is not such a file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _MARK in metadata:
                _check_version(metadata[_MARK])
            yield file, metadata, _MARK in metadata
    except SafetensorError as error:
        raise ValueError(f"expected a .safetensors file, found: {error}") from error


COMPRESSORS: dict[Kind, Converter] = {
    "npy": _compress_npy,
    "pt": _compress_pt,
    "safetensors": _compress_safetensors,
}
DECOMPRESSORS: dict[Kind, Converter] = {
    "container": _decompress_container,
    "pt": _decompress_pt,
    "safetensors": _decompress_safetensors,
}
