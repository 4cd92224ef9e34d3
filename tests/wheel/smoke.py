"""Tries an installed torch_ebpc, whatever PyTorch is beside it. `make test-wheel` runs it in a new
environment that has neither the sources nor the test tools."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

import torch
from torch import Tensor, nn

import torch_ebpc

DTYPES = torch_ebpc.ops.DTYPES


def raises(exception: type[Exception], words: str, call, *arguments, **keywords) -> None:
    try:
        call(*arguments, **keywords)
    except Exception as error:
        found = error
    else:
        raise AssertionError(f"expected {exception.__name__}, got no error")
    if type(found) is not exception or words not in str(found):
        raise AssertionError(f"expected {exception.__name__} with {words!r}, got {found!r}")


def sparse_words(dtype: torch.dtype, *shape: int) -> Tensor:
    """About half of them zero; every bit pattern may be among the others."""
    width = dtype.itemsize
    bits = torch.randint(0, 256, (*shape, width), dtype=torch.uint8)
    return (bits * (torch.rand(*shape, 1) < 0.5)).view(dtype).squeeze(-1)


def same_bits(a: Tensor, b: Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU()).eval()


# ---- What is tried -------------------------------------------------------------------------------


def installation() -> None:
    package = pathlib.Path(torch_ebpc.__file__).resolve()
    assert package.is_relative_to(pathlib.Path(sys.prefix).resolve()), f"not installed: {package}"
    assert package.with_name("py.typed").exists()
    for name in torch_ebpc.__all__:
        getattr(torch_ebpc, name)


def tensors() -> None:
    for dtype in DTYPES:
        x = sparse_words(dtype, 3, 5000)
        packed = torch_ebpc.compress(x)
        assert same_bits(torch_ebpc.decompress(packed), x)
        assert same_bits(torch_ebpc.decompress(packed, index=1), x[1])
        for method in torch_ebpc.ops.METHODS:
            streams = torch_ebpc.encode(x, method=method)
            assert same_bits(torch_ebpc.decode(streams), x)
            assert streams.bits == torch_ebpc.count_bits(x, method)
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    y = torch_ebpc.decompress(torch_ebpc.compress(x))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert same_bits(x, y)
    for x in (torch.empty(0, 3), torch.tensor(1.5)):
        assert same_bits(torch_ebpc.decompress(torch_ebpc.compress(x)), x)


def streams_and_files() -> None:
    x = sparse_words(torch.float32, 4, 6000)
    packed = torch_ebpc.compress(x)
    decoder = torch_ebpc.ContainerDecoder()
    parts = [words for part in packed.split(1000) for words in decoder.push(part)]
    decoder.finish()
    assert same_bits(torch.cat(parts), x.flatten())
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.ebpc"
        torch_ebpc.write_file(path, x, x.shape, x.dtype)
        assert same_bits(torch_ebpc.map_file(path), packed)
        assert same_bits(torch.cat(list(torch_ebpc.read_file(path))), x.flatten())


def checkpoints() -> None:
    content = {"maps": torch.randn(10, 1000).relu(), "step": 7}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "content.pt"
        torch.save(torch_ebpc.pack(content), path)
        again = torch_ebpc.unpack(torch.load(path, weights_only=True))
    assert same_bits(again["maps"], content["maps"])
    assert again["step"] == 7


def kernels() -> None:
    x = sparse_words(torch.int8, 3, 50_000)
    packed = torch_ebpc.compress(x)
    assert torch_ebpc.kernels()[-1] == "portable"
    for name in torch_ebpc.kernels():
        with torch_ebpc.use_kernel(name):
            assert torch_ebpc.kernel() == name
            assert same_bits(torch_ebpc.compress(x), packed)
            assert same_bits(torch_ebpc.decompress(packed), x)


def errors() -> None:
    x = torch.arange(5000, dtype=torch.int32)
    packed = torch_ebpc.compress(x)
    changed = packed.clone()
    changed[-1] ^= 1
    raises(torch_ebpc.EBPCChecksumError, "checksum", torch_ebpc.decompress, changed)
    assert torch_ebpc.recover(changed).lost_words == (range(4096, 5000),)
    raises(torch_ebpc.EBPCFormatError, "magic", torch_ebpc.decompress, torch.zeros_like(packed))
    raises(torch_ebpc.EBPCLimitError, "max_bytes", torch_ebpc.decompress, packed, max_bytes=100)
    raises(TypeError, "dtype", torch_ebpc.compress, x.view(torch.bits8))
    raises(ValueError, "block_size", torch_ebpc.compress, x, block_size=1)
    raises(RuntimeError, "block_size", torch.ops.torch_ebpc.compress, x, block_size=1)


def hooks() -> None:
    model, images = network(), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(images)
        with torch_ebpc.CompressionMeter(model, verify=True, mode="insert") as meter:
            assert same_bits(model(images), expected)
        report = meter.report()
        assert [row.name for row in report.rows] == ["1#1", "3#1"]
        assert report.total().verified_values == report.total().values > 0
        assert "total" in str(report)
        again = torch_ebpc.Report.from_json(report.to_json())
        assert again.to_csv() == report.to_csv()
        seen = []
        with torch_ebpc.Taps(model, lambda tap, x: seen.append(tap.name)):
            model(images)
        assert seen == ["1#1", "3#1"]
        quantizer = torch_ebpc.Quantizer(bits=8, signed=False, scale="calibrated")
        with torch_ebpc.CompressionMeter(model, quantizer=quantizer, mode="insert") as meter:
            with meter.calibrate():
                model(images)
            assert (model(images) - expected).abs().max() < 0.1
    with torch_ebpc.CompressionMeter(model, of="gradients", mode="observe") as meter:
        model(images).sum().backward()
    assert len(meter.report().rows) == 2


def hardware() -> None:
    x = sparse_words(torch.int8, 4000)
    run = torch_ebpc.hardware.run_encoder(x)
    assert run.words == 4000
    assert same_bits(torch_ebpc.hardware.run_decoder(run).tensor, x)


class Compressed(nn.Module):
    """A network with operators between its layers, for what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        packed = torch.ops.torch_ebpc.compress(x, block_size=16)
        return self.second(torch.ops.torch_ebpc.decompress(packed, x.shape, x.dtype))


def torchscript() -> None:
    model, images = Compressed().eval(), torch.randn(2, 3, 16, 16)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.pt"
        torch.jit.script(model).save(path)
        assert same_bits(torch.jit.load(path)(images), model(images))


def compile_and_export() -> None:
    model, images = Compressed().eval(), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, dynamic=True)
        for x in (images, images[:2]):
            torch.testing.assert_close(compiled(x), model(x))
        dynamic = ({0: torch.export.Dim("images", min=2)},)
        exported = torch.export.export(model, (images,), dynamic_shapes=dynamic).module()
        for x in (images, images[:2]):
            torch.testing.assert_close(exported(x), model(x))


def command_line() -> None:
    program = pathlib.Path(sys.executable).with_name("torch-ebpc")
    done = subprocess.run([program, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "portable  passed" in done.stdout


if __name__ == "__main__":
    torch.manual_seed(0)
    print(torch_ebpc.show_config())
    for trial in (
        installation,
        tensors,
        streams_and_files,
        checkpoints,
        kernels,
        errors,
        hooks,
        hardware,
        torchscript,
        compile_and_export,
        command_line,
    ):
        trial()
        print(f"{trial.__name__}: passed", flush=True)
