"""Times one build of torch_ebpc, on demand: a program that :mod:`evaluation.bench.builds` runs in a
process of its own, since one process holds one build. Of the project it uses the public functions
alone, as older builds have them too.

Its first argument is a file of tensors by name, lists of them. Each line that it reads is a request
in JSON; it answers with a line: ``{"compress": seconds, "decompress": seconds, "bytes": packed}``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

import torch_ebpc


def answer(tensors: list[torch.Tensor], request: dict[str, Any]) -> dict[str, float]:
    """Compresses and decompresses all tensors, ``repeat`` times; with ``verify``, compares.

    One thread's time is that of the processor, which other programs disturb less.
    """
    clock = time.process_time if request["threads"] == 1 else time.perf_counter
    torch.set_num_threads(request["threads"])
    with torch_ebpc.use_kernel(request["kernel"]):
        begin = clock()
        for _ in range(request["repeat"]):
            packed = [torch_ebpc.compress(x, **request["options"]) for x in tensors]
        compressed = clock()
        for _ in range(request["repeat"]):
            for each in packed:
                torch_ebpc.decompress(each)
        decompressed = clock()
    for x, each in zip(tensors, packed, strict=True) if request.get("verify") else ():
        if not torch.equal(x.view(torch.uint8), torch_ebpc.decompress(each).view(torch.uint8)):
            raise AssertionError(f"{torch_ebpc.__file__} does not give a tensor back")
    return {
        "compress": (compressed - begin) / request["repeat"],
        "decompress": (decompressed - compressed) / request["repeat"],
        "bytes": sum(each.numel() for each in packed),
    }


def serve() -> None:
    """Answers each line of standard input with one of JSON."""
    data = torch.load(sys.argv[1])
    print(json.dumps(torch_ebpc.__file__), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(answer(data[request["data"]], request)), flush=True)


if __name__ == "__main__":
    serve()
