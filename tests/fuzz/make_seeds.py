"""Writes each fuzzer's first inputs, from the golden streams and the golden containers.

    python tests/fuzz/make_seeds.py FOLDER

makes FOLDER/compress, decode, decompress, hardware and kernels; the input's first 12 bytes are as
fuzz_input.h says.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"


def header(case: dict, reused: bool, zero_bytes: int, zero: int = 0) -> bytes:
    return struct.pack(
        "<BBBBHHI",
        case["word_bits"] - 2,
        case["block_size"] - 2,
        case["max_zero_run"].bit_length() - 2,
        reused | case["signed"] << 1,
        len(case["words"]),
        zero_bytes,
        zero & 0xFFFFFFFF,
    )


def word_bytes(case: dict) -> bytes:
    size = 1 if case["word_bits"] <= 8 else 2 if case["word_bits"] <= 16 else 4
    mask = 2 ** (8 * size) - 1
    return b"".join((word & mask).to_bytes(size, "little") for word in case["words"])


def main() -> None:
    folder = Path(sys.argv[1])
    for name in ("compress", "decode", "decompress", "hardware", "kernels"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)

    for case in json.loads((GOLDEN / "ebpc_streams.json").read_text()):
        name = case["name"]
        for what, zero in (("words", 0), ("other_zero", case["words"][0])):
            words = header(case, False, 0, zero) + word_bytes(case)
            for fuzzer in ("compress", "hardware", "kernels"):
                (folder / fuzzer / f"{name}_{what}").write_bytes(words)
        for reused, planes in ((False, "plane_stream"), (True, "plane_stream_reused_base")):
            zero_stream = bytes.fromhex(case["zero_stream"])
            streams = header(case, reused, len(zero_stream)) + zero_stream
            streams += bytes.fromhex(case[planes])
            for fuzzer in ("decode", "hardware", "kernels"):
                (folder / fuzzer / f"{name}_{planes}").write_bytes(streams)

    for path in sorted((GOLDEN / "containers").glob("*.ebpc")):
        shutil.copy(path, folder / "decompress" / path.name)


if __name__ == "__main__":
    main()
