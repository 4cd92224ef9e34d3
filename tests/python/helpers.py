"""What the tests share: tensors, models, gradients, processes, and how an error is expected."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from torch_ebpc import CompressionMeter, Report, Taps

ROOT = Path(__file__).resolve().parents[2]


# ---- Errors --------------------------------------------------------------------------------------


def missing(what: str) -> NoReturn:
    """Skips a test visibly; where CI=true nothing may be missing, so there it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; with CI=true nothing may be skipped")
    pytest.skip(what)


def about(name: str) -> str:
    """The pattern of a message that begins with this argument, field, layer or stream; the texts
    themselves are in error_texts.txt."""
    return rf"^{re.escape(name)}(?!\w)"


def at_byte(byte: int, field: str, of: str = "container") -> str:
    """The pattern of a message about a byte of a container or stream."""
    return rf"^{of} at byte {byte} \({re.escape(field)}\): "


# ---- Processes -----------------------------------------------------------------------------------


def python(
    *arguments: str | Path, check: bool = False, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A process of its own, of five minutes at most: ``python("-c", code)``."""
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, cwd=cwd,
        capture_output=True, text=True, check=check, timeout=300,
    )  # fmt: skip


# ---- Tensors -------------------------------------------------------------------------------------


DTYPES = (
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.float16,
    torch.bfloat16,
    torch.float32,
)
NEW_DTYPES = (
    torch.bool,
    torch.uint32,
    torch.int64,
    torch.uint64,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.complex32,
    torch.complex64,
    torch.complex128,
)
"""Those of containers of version 3."""
FLOATING = tuple(dtype for dtype in DTYPES if dtype.is_floating_point)
INTEGERS = tuple(dtype for dtype in DTYPES if not dtype.is_floating_point)
METHODS = ("ebpc", "bpc", "zvc", "zero_rle", "csc", "none")
BASES = ("sent", "reused")
SHAPES = ((), (0,), (2, 0, 3), (1,), (7,), (4096,), (4097,), (2, 3, 5, 7), (1,) * 24)

_AS_INTEGER = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(x: Tensor) -> Tensor:
    """The bit patterns of a tensor, as signed integers."""
    x = x.detach()
    x = torch.view_as_real(x) if x.dtype == torch.complex128 else x
    return x.view(_AS_INTEGER[x.dtype.itemsize])


def assert_same_bits(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert torch.equal(bits_of(found), bits_of(expected))


def from_patterns(patterns: list[int], dtype: torch.dtype) -> Tensor:
    """A tensor of these bit patterns, given as unsigned numbers."""
    width = 8 * dtype.itemsize
    signed = [pattern - (pattern >> (width - 1) << width) for pattern in patterns]
    return torch.tensor(signed, dtype=_AS_INTEGER[dtype.itemsize]).view(dtype)


def feature_map(dtype: torch.dtype, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """About half zeros, the rest of any bits (of bool, of the two that it has)."""
    if dtype == torch.bool:
        return feature_map(torch.int8, shape, seed) != 0
    if dtype == torch.complex128:
        return torch.view_as_complex(feature_map(torch.float64, (*shape, 2), seed))
    generator = torch.Generator().manual_seed(seed)
    integer = _AS_INTEGER[dtype.itemsize]
    limits = torch.iinfo(integer)
    end = min(limits.max, 2**63 - 2) + 1  # the largest that randint takes
    words = torch.randint(limits.min, end, shape, generator=generator, dtype=integer)
    small = torch.rand(shape, generator=generator) < 0.7
    words = torch.where(small, words % 13, words)
    zero = torch.rand(shape, generator=generator) < 0.5
    return torch.where(zero, torch.zeros((), dtype=integer), words).view(dtype)


def small_integers(
    shape: tuple[int, ...], dtype: torch.dtype = torch.int8, seed: int = 0
) -> Tensor:
    """About half zeros, the rest small; of more than two segments the second is of any bytes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 5, shape, generator=generator).clamp(min=0)
    if x.numel() > 8192:
        x.view(-1)[4096:8192] = torch.randint(-120, 120, (4096,), generator=generator)
    return x.to(dtype)


def relu_words(*shape: int, bits: int = 8) -> Tensor:
    """Signed words of a ReLU's output: half zeros, the rest as a normal distribution has them."""
    largest = (1 << (bits - 1)) - 1
    x = (torch.randn(shape) * largest / 4).relu().clamp(max=largest)
    return x.to(torch.int8 if bits <= 8 else torch.int16)


def special_values(dtype: torch.dtype) -> Tensor:
    """Every sign and exponent pattern of a floating dtype with the mantissas at their edges: zeros,
    subnormals, infinities and NaNs with payloads are among them."""
    width = 8 * dtype.itemsize
    mantissa = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23, torch.float64: 52}[dtype]
    exponents = range(1 << (width - 1 - mantissa))
    mantissas = (0, 1, (1 << (mantissa - 1)) - 1, 1 << (mantissa - 1), (1 << mantissa) - 1)
    patterns = [
        sign << (width - 1) | exponent << mantissa | fraction
        for sign, exponent, fraction in itertools.product((0, 1), exponents, mantissas)
    ]
    return from_patterns(patterns, dtype)


def sample_tensors() -> Iterator[Tensor]:
    """Few and small, of every dtype and layout: for opcheck, which runs each several times."""
    for dtype in DTYPES:
        yield feature_map(dtype, (2, 3, 4))
    x = feature_map(torch.float32, (2, 3, 4, 5))
    yield x.to(memory_format=torch.channels_last)
    yield x.transpose(1, 3)
    yield x[:, ::2]
    yield feature_map(torch.int16, (1, 2, 3, 2, 2)).to(memory_format=torch.channels_last_3d)
    yield torch.empty(0, 3, dtype=torch.int8)
    yield torch.tensor(-0.0)


def saved_and_loaded(
    content: Any, save: Callable = torch.save, load: Callable = torch.load, **options: Any
) -> Any:
    """What comes out of a file that was saved."""
    file = io.BytesIO()
    save(content, file)
    file.seek(0)
    return load(file, **options)


# ---- Models --------------------------------------------------------------------------------------


class Residual(nn.Module):
    """As in ResNet: one in-place ReLU called twice, and `out += identity` between."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.conv1(x))
        out = self.conv2(out)
        out += identity
        return self.relu(out)


class InPlaceAfter(nn.Module):
    """The measured layer's own output is changed in place, twice, right after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.conv(x))
        out += 1.5
        return torch.relu_(out.mul_(0.5))


def small_network() -> nn.Sequential:
    """Five calls of three ReLU modules."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        Residual(),
        Residual(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


SMALL_CALLS = ["1#1", "2.relu#1", "2.relu#2", "3.relu#1", "3.relu#2"]


def images(count: int = 2, size: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))
    return ((16 * x).round() / 16).to(dtype)


def with_exact_sums(model: nn.Module) -> nn.Module:
    """The model with weights of -1, 0 and 1: its sums over :func:`images` need no rounding, so that
    their order does not matter, which differs between CPUs, compilers and eager mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=generator))
    return model


class Returns(nn.Module):
    """Returns what ``make`` makes of its input."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


class Passing(nn.Module):
    """Returns what it gets."""

    def forward(self, x: Tensor) -> Tensor:
        return x


# ---- Taps and meters -----------------------------------------------------------------------------


def hooks_of(model: nn.Module) -> list[Any]:
    return [
        hook
        for module in model.modules()
        for name, hooks in vars(module).items()
        if name.endswith("_hooks")
        for hook in hooks
    ]


def tapped(
    model: nn.Module, run: Tensor | Callable[[], Any], layers: Any = nn.ReLU, **options: Any
) -> list[str]:
    """Names of the calls that are tapped while the model sees ``run``, or while that runs."""
    names: list[str] = []
    with Taps(model, lambda tap, _: names.append(tap.name), layers, **options):
        output = run() if callable(run) and not isinstance(run, Tensor) else model(run)
        if options.get("of") == "gradients" and isinstance(output, Tensor):
            output.sum().backward()
    assert _get_current_function_mode_stack() == []
    return names


def metered(model: nn.Module, x: Tensor, *layers: Any, **options: Any) -> tuple[Any, Report]:
    """The output under a meter, and its report."""
    with CompressionMeter(model, *layers, **options) as meter, torch.no_grad():
        output = model(x)
    return output, meter.report()


# ---- Gradients -----------------------------------------------------------------------------------


def gradients_of(
    forward: Callable[[nn.Module, Tensor], Tensor],
    model: nn.Module,
    x: Tensor,
    saving: contextlib.AbstractContextManager | None = None,
) -> list[Tensor]:
    """The loss, and the gradients of the input and of all parameters of a copy of the model."""
    model = copy.deepcopy(model)
    x = x.detach().clone().requires_grad_()
    torch.manual_seed(5)
    with saving or contextlib.nullcontext():
        loss = forward(model, x).float().square().sum()
    loss.backward()
    return [loss, x.grad, *(p.grad for p in model.parameters())]


def assert_all_same_bits(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for each, other in zip(found, expected, strict=True):
        assert_same_bits(each, other)
        assert each.stride() == other.stride()


def plain_call(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


# ---- The command line ----------------------------------------------------------------------------


def array(dtype: str, shape=(3, 50, 70)) -> np.ndarray:
    return feature_map(getattr(torch, dtype), shape).numpy()


def state() -> dict[str, torch.Tensor]:
    return {
        "weight": feature_map(torch.float32, (40, 50)),
        "bias": torch.linspace(-1, 1, 3, dtype=torch.bfloat16),  # too small to gain
        "bytes": torch.arange(9, dtype=torch.uint8),
        "steps": torch.tensor(7),
        "double": torch.linspace(-1, 1, 3, dtype=torch.float64),
        "mask": torch.tensor([True, False]),
    }


def error_of(capsys) -> str:
    error = capsys.readouterr().err
    assert "Traceback" not in error
    _, mark, message = error.partition("torch-ebpc: error: ")
    assert mark, error
    return message.rstrip("\n")


class Pipe(io.TextIOWrapper):
    """Standard input that is not a terminal."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))


# ---- Pages ---------------------------------------------------------------------------------------


BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
BACKGROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}


def look_at(path: Path) -> None:
    """Opens a page as four readers would, clicks, and checks what they see; skips visibly where
    there is no browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("no package playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing(f"none of {', '.join(BROWSERS)}; Debian's package is chromium-headless-shell")
    said: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for width in (1280, 390):
            for scheme, background in BACKGROUNDS.items():
                page = browser.new_page(
                    viewport={"width": width, "height": 800}, color_scheme=scheme
                )
                page.on("console", lambda each: said.append(each.text))
                page.on("pageerror", lambda each: said.append(str(each)))
                page.on("requestfailed", lambda each: said.append(each.url))
                page.goto(path.as_uri())
                assert page.locator("h1").is_visible()
                assert page.locator(".summary li").count() >= 3
                assert page.locator("figure").first.is_visible()
                assert page.locator("table:visible").count() == 0, "tables are folded"
                page.locator("details > summary").first.click()
                header = page.locator("table:visible").first.locator("th").nth(1)
                header.click()
                assert header.get_attribute("aria-sort") == "ascending"
                colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert colour == background
                page.evaluate("for (const e of document.querySelectorAll('details')) e.open = true")
                wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                assert wide <= screen, f"wider than the screen of {width}"
        browser.close()
    assert said == []
