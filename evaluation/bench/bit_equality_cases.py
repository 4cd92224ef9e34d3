"""The training steps that evaluation.bench.bit_equality runs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

import torch_ebpc
from torch_ebpc._saved_memory import Container, suited
from torch_ebpc.cli.networks import import_torchvision
from torch_ebpc.saved_report import SavedRow

Saving = Callable[[], contextlib.AbstractContextManager[Any]]


class Forced(torch_ebpc.save_compressed):
    """Compresses all that is not a parameter, a buffer or unusual."""

    def __init__(self) -> None:
        super().__init__(min_bytes=0)

    def _compressed(self, words: Tensor, row: SavedRow) -> Container:
        return Container(torch_ebpc.compress(suited(words, self._code), **self._code))


@dataclasses.dataclass
class Case:
    """A training step: what it computes, with something around its forward pass or not."""

    group: str
    name: str
    run: Callable[[Saving], Any]
    saving: Saving = Forced


DTYPES = (torch.float32, torch.bfloat16)
# With the settings that users have, too; what is small is left alone.
SAVINGS = {"forced": Forced, "default": torch_ebpc.save_compressed}


def all_cases(quick: bool) -> Iterator[Case]:
    """All, or some of each group but DistributedDataParallel's."""
    yield from operator_cases(every=60 if quick else 1)
    # Each model comes in four or six ways: of some models so, and of some so.
    step = 7 if quick else 1
    for group in (
        recurrent_cases(),
        attention_cases(),
        network_cases(QUICK if quick else tuple(NETWORKS)),
        checkpoint_cases(),
        transform_cases(),
        compiled_cases("aot_eager" if quick else "inductor"),
    ):
        yield from itertools.islice(group, 0, None, step)
    yield from meter_cases()
    if not quick:
        yield Case("DistributedDataParallel", "2 ranks", two_ranks)


def gradients(outputs: Any, inputs: list[Tensor]) -> list[Tensor | None]:
    """Of the outputs' sum, weighted at random."""
    leaves = [y for y in tree_leaves(outputs) if isinstance(y, Tensor) and y.requires_grad]
    torch.manual_seed(1)
    weights = [torch.randn_like(y) for y in leaves]
    return list(torch.autograd.grad(leaves, inputs, weights, allow_unused=True))


def detached(outputs: Any) -> Any:
    return tree_map(lambda y: y.detach() if isinstance(y, Tensor) else None, outputs)


# ---- PyTorch's samples ---------------------------------------------------------------------------


def operator_cases(every: int) -> Iterator[Case]:
    from torch.testing._internal.common_methods_invocations import op_db

    for op in op_db[::every]:
        for dtype in DTYPES:
            backward_dtypes = op.supported_backward_dtypes("cpu")  # type: ignore[no-untyped-call]
            if not op.supports_autograd or dtype not in backward_dtypes:
                continue
            torch.manual_seed(0)
            samples = op.sample_inputs("cpu", dtype, requires_grad=True)  # type: ignore[no-untyped-call]
            for index, sample in enumerate(samples):
                for kind, function in ("", op.op), (" in place", op.inplace_variant):
                    if function is None:
                        continue
                    name = f"{op.formatted_name}{kind} {dtype} sample {index}"
                    run = functools.partial(operator_step, function, sample)
                    yield Case("op_db", name, run)


def operator_step(function: Callable[..., Any], sample: Any, saving: Saving) -> Any:
    """With inputs that are no leaves, which would be left as they are."""
    leaves: list[Tensor] = []

    def made(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        leaf = x.detach().clone().requires_grad_(x.requires_grad)
        if not x.requires_grad:
            return leaf
        leaves.append(leaf)
        return leaf.clone()

    with saving():
        arguments = tree_map(made, (sample.input, sample.args, sample.kwargs))
        outputs = function(arguments[0], *arguments[1], **arguments[2])
    return detached(outputs), gradients(outputs, leaves)


# ---- Modules -------------------------------------------------------------------------------------


Shapes = tuple[tuple[int, ...], ...]  # of a model's inputs
MAPS, TOKENS = ((4, 8, 24, 24),), ((4, 64, 64),)


def module_step(
    make: Callable[[], nn.Module],
    shapes: Shapes,
    saving: Saving,
    dtype: torch.dtype = torch.float32,
    autocast: bool = False,
    call: Callable[[nn.Module, Any], Any] = lambda model, x: model(*x),
    backward_inside: bool = False,
) -> Any:
    """A step of a model that is made anew: outputs, gradients and buffers."""
    torch.manual_seed(2)
    model = make().to(dtype).train()
    arguments = tuple(torch.randn(shape).to(dtype).requires_grad_() for shape in shapes)
    leaves = [*arguments, *model.parameters()]
    with contextlib.ExitStack() as stack:
        stack.enter_context(saving())
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs = call(model, arguments)
        if backward_inside:  # as reentrant checkpoints want it
            torch.autograd.backward(loss_of(outputs))
    if not backward_inside:
        torch.autograd.backward(loss_of(outputs))
    return detached(outputs), [x.grad for x in leaves], list(model.buffers())


def loss_of(outputs: Any) -> Tensor:
    torch.manual_seed(1)
    leaves = [y for y in tree_leaves(outputs) if isinstance(y, Tensor) and y.requires_grad]
    return torch.stack(
        [(y * torch.randn(y.shape, dtype=y.dtype)).float().sum() for y in leaves]
    ).sum()


def cases_of(
    group: str,
    name: str,
    make: Callable[[], nn.Module],
    shapes: Shapes,
    modes: tuple[str, ...] = ("float32", "bfloat16", "autocast"),
    **how: Any,
) -> Iterator[Case]:
    """A model in each mode and with each kind of saving."""
    for mode, (kind, saving) in itertools.product(modes, SAVINGS.items()):
        run = functools.partial(
            module_step,
            make,
            shapes,
            dtype=torch.bfloat16 if mode == "bfloat16" else torch.float32,
            autocast=mode == "autocast",
            **how,
        )
        yield Case(group, f"{name}, {mode}, {kind}", run, saving)


def recurrent_cases() -> Iterator[Case]:
    """Their saved tensors have more than 16 KiB in bfloat16, too."""
    batch, features, hidden, steps = 96, 32, 128, 3
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "GRU": ("GRU", {}),
        "LSTM": ("LSTM", {}),
        "RNN tanh": ("RNN", {}),
        "RNN relu": ("RNN", {"nonlinearity": "relu"}),
    }

    def call_packed(model: nn.Module, arguments: tuple[Tensor]) -> Any:
        lengths = torch.arange(batch).remainder(steps).flip(0) + 1
        output, state = model(pack_padded_sequence(arguments[0], lengths, enforce_sorted=False))
        assert isinstance(output, PackedSequence)
        return output.data, state

    for name, (kind, options) in kinds.items():
        for count, both, packed in itertools.product((1, 2), (False, True), (False, True)):
            make = functools.partial(
                getattr(nn, kind), features, hidden, count, bidirectional=both, **options
            )
            what = f"{name}, layers {count}, bidirectional {both}, packed {packed}"
            how: dict[str, Any] = {"call": call_packed} if packed else {}
            yield from cases_of("recurrent", what, make, ((steps, batch, features),), **how)
        cell = functools.partial(getattr(nn, f"{kind}Cell"), features, hidden, **options)
        yield from cases_of("recurrent", f"{name} cell", cell, ((batch, features),))


class SelfAttention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, dropout, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.attention(x, x, x)


def attention_cases() -> Iterator[Case]:
    def call_decoder(model: nn.Module, arguments: tuple[Tensor]) -> Any:
        return model(arguments[0], arguments[0] * 2)

    for dropout in (0.0, 0.3):
        suffix = f"dropout {dropout}"
        for causal in (False, True):

            def call(model: Any, qkv: Any, dropout: float = dropout, causal: bool = causal) -> Any:
                attention = nn.functional.scaled_dot_product_attention
                return attention(qkv[0], qkv[1], qkv[2], None, dropout, causal)

            name = f"sdpa, causal {causal}, {suffix}"
            yield from cases_of("attention", name, nn.Identity, 3 * ((4, 4, 64, 16),), call=call)
        make: Callable[[], nn.Module] = functools.partial(SelfAttention, dropout)
        yield from cases_of("attention", f"MultiheadAttention, {suffix}", make, TOKENS)
        for activation, first in itertools.product(("relu", "gelu"), (False, True)):
            options: dict[str, Any] = {"activation": activation, "norm_first": first}
            options["batch_first"] = True
            name = f"{activation}, norm first {first}, {suffix}"
            make = functools.partial(nn.TransformerEncoderLayer, 64, 4, 128, dropout, **options)
            yield from cases_of("attention", f"encoder layer, {name}", make, TOKENS)
            make = functools.partial(nn.TransformerDecoderLayer, 64, 4, 128, dropout, **options)
            yield from cases_of(
                "attention", f"decoder layer, {name}", make, TOKENS, call=call_decoder
            )


# ---- Networks ------------------------------------------------------------------------------------

QUICK = ("resnet18", "mobilenet_v3_small")
_SMALL, _NO_BACKBONE = (2, 3, 64, 64), {"weights_backbone": None}
_PLAIN = """alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s mnasnet0_5
mobilenet_v2 mobilenet_v3_small regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5
squeezenet1_1 swin_t swin_v2_t vgg11_bn wide_resnet50_2"""
# One of each family; the shape of an input, and what else it is made with.
NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    **{name: (_SMALL, {}) for name in _PLAIN.split()},
    "vit_b_32": (_SMALL, {"image_size": 64}),
    "googlenet": ((2, 3, 96, 96), {"init_weights": False}),
    "inception_v3": ((2, 3, 299, 299), {"init_weights": False}),
    "maxvit_t": ((1, 3, 224, 224), {}),
    "fcn_resnet50": (_SMALL, _NO_BACKBONE),
    "deeplabv3_mobilenet_v3_large": (_SMALL, _NO_BACKBONE),
    "lraspp_mobilenet_v3_large": (_SMALL, _NO_BACKBONE),
    "r3d_18": ((2, 3, 4, 32, 32), {}),
    "s3d": ((2, 3, 16, 64, 64), {}),
    "swin3d_t": ((1, 3, 4, 64, 64), {}),
    "mvit_v1_b": ((1, 3, 16, 224, 224), {}),
    "raft_small": ((1, 3, 128, 128), {}),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ((1, 3, 128, 128), _NO_BACKBONE),
}


def network_cases(names: tuple[str, ...]) -> Iterator[Case]:
    models = import_torchvision().models
    for name in names:
        shape, options = NETWORKS[name]
        make = functools.partial(models.get_model, name, weights=None, **options)
        shapes = (shape, shape) if name.startswith("raft") else (shape,)
        how: dict[str, Any] = {"call": call_detector} if name.startswith("fasterrcnn") else {}
        # Both kinds of saving; the other modes change what layers save, not how networks are made.
        modes = ("float32", "autocast") if name in QUICK else ("float32",)
        yield from cases_of("TorchVision", name, make, shapes, modes, **how)


def call_detector(model: nn.Module, arguments: tuple[Tensor]) -> Any:
    box = {"boxes": torch.tensor([[8.0, 8, 100, 90]]), "labels": torch.tensor([1])}
    return model(list(arguments[0]), [box])


# ---- Other hooks, transforms, compilers ----------------------------------------------------------


def block(width: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2)
    )


def blocks() -> nn.Sequential:
    return nn.Sequential(block(), block(), block())


def keep_convolutions(context: Any, function: Any, *arguments: Any, **keywords: Any) -> Any:
    kept = function in (torch.ops.aten.convolution.default,)
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def checkpoint_cases() -> Iterator[Case]:
    selective = functools.partial(create_selective_checkpoint_contexts, keep_convolutions)
    ways: dict[str, dict[str, Any]] = {
        "reentrant": {"use_reentrant": True},
        "not reentrant": {"use_reentrant": False},
        "selective": {"use_reentrant": False, "context_fn": selective},
    }
    for (name, options), inside in itertools.product(ways.items(), (False, True)):

        def call(model: Any, x: tuple[Tensor], options: dict[str, Any] = options) -> Tensor:
            y = x[0] * 1
            for part in model:
                y = checkpoint(part, y, **options)
            return y

        what = f"{name}, backward pass {'inside' if inside else 'outside'}"
        yield from cases_of("checkpoints", what, blocks, MAPS, call=call, backward_inside=inside)

    def in_sequence(model: Any, x: tuple[Tensor]) -> Any:
        return checkpoint_sequential(model, 2, x[0], use_reentrant=False)  # type: ignore[no-untyped-call]

    yield from cases_of("checkpoints", "checkpoint_sequential", blocks, MAPS, call=in_sequence)


def transform_cases() -> Iterator[Case]:
    def by_sample(model: nn.Module, x: tuple[Tensor]) -> Tensor:
        mapped: Tensor = torch.vmap(lambda each: each.relu().sin().softmax(-1))(x[0] * 1)
        return mapped

    def called(model: nn.Module, x: tuple[Tensor]) -> Any:
        state = {name: p * 2 for name, p in model.named_parameters()}
        return torch.func.functional_call(model, state, x)

    def jacobian(model: nn.Module, x: tuple[Tensor]) -> Any:
        small = x[0][:1, :1, :4, :4]
        return torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda y: y.relu().exp().sum(1), small, create_graph=True
        )

    def second_order(model: nn.Module, x: tuple[Tensor]) -> Tensor:
        y = model(x[0]).tanh().sum()
        (first,) = torch.autograd.grad(y, x[0], create_graph=True)
        return first

    def gradient(model: nn.Module, x: tuple[Tensor]) -> Any:
        return torch.func.grad(lambda y: y.sin().sum())(x[0])

    functions = [by_sample, called, jacobian, second_order, gradient]
    for function in functions:
        name = function.__name__.replace("_", " ")
        yield from cases_of(
            "transforms", name, blocks, MAPS, ("float32", "bfloat16"), call=function
        )


def compiled_cases(backend: str) -> Iterator[Case]:
    def compiled(model: Any, x: tuple[Tensor]) -> Any:
        torch._dynamo.reset()
        part: Any = torch.compile(model[1], backend=backend)
        return model[2](part(model[0](x[0])))

    yield from cases_of("compiled", f"a block, {backend}", blocks, MAPS, call=compiled)


# ---- Meters --------------------------------------------------------------------------------------


class Nested(nn.Module):
    """Outputs in a dict, with a tuple and a list in it."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, 32, batch_first=True)
        self.attention = SelfAttention(0.0)
        self.last = nn.Sequential(nn.Linear(32, 16), nn.ReLU())

    def forward(self, x: Tensor) -> dict[str, Any]:
        sequence, state = self.lstm(self.attention(x)[0])
        return {"maps": [self.last(sequence), sequence], "state": state}


def meter_cases() -> Iterator[Case]:
    models: dict[str, tuple[Callable[[], nn.Module], Shapes]] = {
        "plain": (blocks, MAPS),
        "tuples": (functools.partial(SelfAttention, 0.0), TOKENS),
        "dict": (Nested, TOKENS),
    }
    for (name, (make, shapes)), mode in itertools.product(models.items(), ("observe", "insert")):
        run = functools.partial(meter_step, make, shapes, mode)
        yield Case("meters", f"{name}, {mode}", run)


def meter_step(make: Callable[[], nn.Module], shapes: Shapes, mode: Any, saving: Saving) -> Any:
    """With a meter around the model where another step has compressed saved tensors."""

    def call(model: nn.Module, x: Any) -> Any:
        if saving is contextlib.nullcontext:
            return model(*x)
        layers = [name for name, _ in model.named_modules() if name]
        with torch_ebpc.CompressionMeter(model, layers, mode=mode):
            return model(*x)

    return module_step(make, shapes, contextlib.nullcontext, call=call)


# ---- DistributedDataParallel ---------------------------------------------------------------------


def two_ranks(saving: Saving) -> Any:
    """A step of two processes, each with half of the batch."""
    is_plain = saving is contextlib.nullcontext
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, (folder, is_plain), nprocs=2)  # type: ignore[no-untyped-call]
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


def _rank(rank: int, folder: str, is_plain: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/init", rank=rank, world_size=2)
    results = []
    ways: list[dict[str, Any]] = [{}, {"gradient_as_bucket_view": True}, {"static_graph": True}]
    for options in ways:
        torch.manual_seed(3)
        model = nn.parallel.DistributedDataParallel(blocks(), **options)
        torch.manual_seed(rank)
        x = torch.randn(MAPS[0])
        with contextlib.nullcontext() if is_plain else Forced():
            loss = model(x).square().sum()
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters())])
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
