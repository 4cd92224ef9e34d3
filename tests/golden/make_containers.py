"""Wrote tests/golden/containers: containers of each format version, read by every later version of
this library. NAME.ebpc is the container and NAME.words the tensor's words in row-major order,
little-endian; index.json says what the header shall say.

    python tests/golden/make_containers.py

adds those of the format versions that this library writes. Files that are there are never changed:
if this library writes other bytes than they have, that is an error, and if what it writes is
another format, it needs another version number.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import torch

import torch_ebpc
from torch_ebpc.container import CODINGS

FOLDER = Path(__file__).parent / "containers"
SEGMENT = 4096
WRITTEN_CODINGS = 13  # raw, six in planes, five with an entropy code, and the default


def walk(count: int, low: int, high: int, seed: int) -> torch.Tensor:
    """Runs of zeros between slowly changing values, as feature maps have them; int64."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(-3, 4, (count,), generator=generator).cumsum(0)
    values = low + (steps - low).remainder(high - low + 1)
    zero = torch.randint(0, 2, (count // 8 + 1,), generator=generator).repeat_interleave(8)[:count]
    return values * zero


def noise(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count,), generator=generator, dtype=torch.uint8)


def few_words(seed: int) -> torch.Tensor:
    """Walks of any step between zeros in runs of any length, up to 400 words of any dtype."""
    generator = torch.Generator().manual_seed(seed)

    def below(limit: int) -> int:
        return int(torch.randint(0, limit, (), generator=generator))

    count, zero_run, nonzero_run, step = 1 + below(400), below(200), 1 + below(40), 2 ** below(7)
    steps = torch.randint(-step, step + 1, (count,), generator=generator)
    place = torch.arange(count) % (zero_run + nonzero_run)
    values = (steps.cumsum(0).remainder(120) + 1) * (place < nonzero_run)
    return values.to(torch_ebpc.ops.DTYPES[seed % 5])


def of_every_coding() -> dict[str, torch.Tensor]:
    """A tensor of one segment for each coding that segments choose from."""
    names = CODINGS["auto"]
    found: dict[str, torch.Tensor] = {}
    seed = 0
    while len(found) < WRITTEN_CODINGS:
        x = few_words(seed)
        (chosen,) = torch_ebpc.inspect(torch_ebpc.compress(x, codec="auto", zero=0)).codings
        found.setdefault(f"auto_coding_{names.index(chosen.coding):02}", x)
        seed += 1
    return dict(sorted(found.items()))


def of_version_3() -> dict[str, tuple[torch.Tensor, dict[str, int | str]]]:
    """What the versions before do not know: other zero words, zeros of both signs, more dtypes."""
    words = walk(600, -60, 60, 9)
    map_ = torch.relu(words).view(2, 3, 10, 10) - 128
    floats = walk(2 * SEGMENT + 500, 1, 255, 10).float() / 16
    floats[:SEGMENT] *= -1  # zeros of the one sign, of the other, and of both
    floats[2 * SEGMENT :: 2] *= -1
    doubles = floats[:2100].double().view(-1, 3) + walk(2100, 0, 1, 11).view(-1, 3) * 1e-9
    complex_ = torch.complex(floats[:500], floats[-500:])
    found: dict[str, tuple[torch.Tensor, dict[str, int | str]]] = {
        "int8_zero_point": (map_.to(torch.int8), {"zero": -128}),
        "uint8_zero_point": ((map_ + 131).to(torch.uint8), {"zero": 3, "base": "reused"}),
        "int16_10_bits_zero_point": (words.to(torch.int16), {"word_bits": 10, "zero": 7}),
        "float32": (floats, {"zero": "auto"}),
        "bfloat16_block_16": (floats.bfloat16(), {"zero": "auto", "block_size": 16}),
        "float16_negative_zero": (floats[:SEGMENT].half(), {"zero": -0.0}),  # type: ignore[dict-item]
        "bool": (words > 30, {}),
        "uint32": (walk(500, 0, 2**32 - 1, 12).to(torch.uint32), {}),
        "int64": (walk(500, -(2**40), 2**40, 13), {}),
        "uint64": (walk(500, 0, 2**62, 14).to(torch.uint64).view(50, 10), {}),
        "float64": (doubles, {"zero": "auto"}),
        "complex32": (torch.view_as_complex(floats[-400:].half().view(-1, 2)), {}),
        "complex64": (complex_, {}),
        "complex128": (complex_.to(torch.complex128).view(20, 25), {"zero": "auto"}),
        "int64_channels_last": (
            words.view(2, 3, 10, 10).contiguous(memory_format=torch.channels_last),
            {},
        ),
        "bool_empty": (torch.empty(3, 0, dtype=torch.bool), {}),
    }
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"):
        found[name] = (floats[-500:].to(getattr(torch, name)), {})
    auto = {
        f"auto_{name}": (x, {"codec": "auto", "zero": code.get("zero", 0)})
        for name, (x, code) in found.items()
        if not name.startswith("int16")
    }
    return found | auto


def tensors() -> dict[str, tuple[torch.Tensor, dict[str, int | str]]]:
    auto: dict[str, int | str] = {"codec": "auto", "zero": 0}
    special = [0.0, -0.0, 1.0, float("inf"), -float("inf"), float("nan"), 1e-45, -1.5]
    floats = walk(300, 0, 255, 3).float() / 16
    floats[:8] = torch.tensor(special)
    mixed = torch.cat([walk(SEGMENT, 0, 127, 1).to(torch.int8), noise(SEGMENT, 2).view(torch.int8)])
    mixed = torch.cat([mixed, torch.zeros(8, dtype=torch.int8)])
    map4 = walk(2 * 3 * 9 * 7, 0, 200, 4).to(torch.uint8).view(2, 3, 9, 7)
    map5 = walk(2 * 3 * 2 * 4 * 5, -9, 9, 5).to(torch.int16).view(2, 3, 2, 4, 5)
    words12 = walk(500, -2048, 2047, 6).to(torch.int16)
    unsigned = walk(333, 0, 65535, 7).to(torch.int32).to(torch.uint16)
    wide = walk(300, -(2**31), 2**31 - 1, 8).to(torch.int32)
    reused: dict[str, int | str] = {"base": "reused"}
    return {
        "int8_segments": (mixed, {}),
        "uint8_channels_last": (map4.contiguous(memory_format=torch.channels_last), {}),
        "int16_channels_last_3d": (map5.contiguous(memory_format=torch.channels_last_3d), reused),
        "int16_12_bits": (words12, {"word_bits": 12, "block_size": 16, "max_zero_run": 64}),
        "uint16_block_64": (unsigned, {"block_size": 64, "max_zero_run": 65536, **reused}),
        "int32_block_2": (wide, {"block_size": 2, "max_zero_run": 2}),
        "float16": (floats.to(torch.float16).view(3, 100), {}),
        "bfloat16": (floats.to(torch.bfloat16).view(10, 1, 30), {"block_size": 16}),
        "float32": (floats, reused),
        "float32_scalar": (torch.tensor(-0.0), {}),
        "int8_empty": (torch.empty(3, 0, 5, dtype=torch.int8), {}),
        **{name: (x, auto) for name, x in of_every_coding().items()},
        "auto_int8_segments": (mixed, auto),
        "auto_uint8_channels_last": (map4.contiguous(memory_format=torch.channels_last), auto),
        "auto_int16_12_bits": (words12, {"word_bits": 12, **auto}),
        "auto_int32": (wide, auto),
        "auto_float16": (floats.to(torch.float16).view(3, 100), auto),
        "auto_bfloat16": (floats.to(torch.bfloat16).view(10, 1, 30), auto),
        "auto_float32": (floats, auto),
        "auto_float32_scalar": (torch.tensor(-0.0), auto),
        "auto_int8_empty": (torch.empty(3, 0, 5, dtype=torch.int8), auto),
        **of_version_3(),
    }


def stored(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())


def write_once(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() != data:
        sys.exit(f"{path} is there with other bytes. It stays as it is.")
    path.write_bytes(data)


def main() -> None:
    if sys.byteorder != "little":
        sys.exit("The files are made on a little-endian machine.")
    FOLDER.mkdir(exist_ok=True)
    index_path = FOLDER / "index.json"
    index = json.loads(index_path.read_text()) if index_path.exists() else {}
    for name, (tensor, parameters) in tensors().items():
        packed = torch_ebpc.compress(tensor, **parameters)  # type: ignore[arg-type]
        info = torch_ebpc.inspect(packed)
        # v2_... and v3_auto_... are what earlier writers made of the same tensors.
        name = name.removeprefix("auto_") if "coding_" in name else name.replace("auto_", "chosen_")
        name = f"v{info.format_version}_{name}"
        write_once(FOLDER / f"{name}.ebpc", bytes(packed.tolist()))
        write_once(FOLDER / f"{name}.words", stored(tensor))
        index[name] = {
            "format_version": info.format_version,
            "dtype": str(info.dtype).removeprefix("torch."),
            "memory_format": info.memory_format,
            "shape": info.shape,
            "word_bits": info.word_bits,
            "block_size": info.block_size,
            "max_zero_run": info.max_zero_run,
            "base": info.base,
            "raw_segments": info.raw_segments,
        }
        if info.format_version >= 3:
            index[name] |= {
                "codec": info.codec,
                "zero": info.zero,
                "both_zeros": info.both_zeros,
            }
        if info.codec == "auto":
            index[name]["codings"] = [dataclasses.astuple(each) for each in info.codings]
    lines = [f"  {json.dumps(name)}: {json.dumps(fields)}" for name, fields in index.items()]
    index_path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
