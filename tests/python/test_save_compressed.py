"""save_compressed: gradients are those of the plain run, to the last bit."""

from __future__ import annotations

import contextlib
import copy
import threading

import pytest
import torch
from helpers import (
    about,
    assert_all_same_bits,
    assert_same_bits,
    gradients_of,
    hooks_of,
    images,
    plain_call,
    small_network,
)
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from torch_ebpc import save_compressed
from torch_ebpc.cli.networks import import_torchvision
from torch_ebpc.saved_report import PARAMETER

pytestmark = pytest.mark.usefixtures("deterministic")


# ---- Training ------------------------------------------------------------------------------------


def train(
    model: nn.Module,
    x: Tensor,
    saving: contextlib.AbstractContextManager,
    autocast: bool,
) -> dict[str, Tensor]:
    """A step; the weights, the buffers, the optimizer's state, the loss and the output."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with saving, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model(x)
        loss = nn.functional.cross_entropy(output.float(), torch.arange(len(x)))
    loss.backward()
    optimizer.step()
    state = {"loss": loss.detach(), "output": output.detach()}
    for index, each in optimizer.state_dict()["state"].items():
        state[f"momentum {index}"] = each["momentum_buffer"]
    return state | {name: each.detach() for name, each in model.state_dict().items()}


@pytest.mark.parametrize(
    ("dtype", "autocast"),
    [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)],
    ids=["float32", "autocast", "bfloat16"],
)
def test_resnet34_trains_to_the_same_bits(dtype, autocast):
    """With batch normalization in training and ReLU in place; the optimizer's step included."""
    model = import_torchvision().models.resnet34(num_classes=10).to(dtype)
    x = images(2, 64, dtype)
    expected = train(copy.deepcopy(model), x, contextlib.nullcontext(), autocast)
    saved = save_compressed(model)
    found = train(model, x, saved, autocast)

    assert found.keys() == expected.keys()
    for name, each in expected.items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(found[name], each)
        else:
            assert_same_bits(found[name], each)
    total = saved.report().total()
    assert total.packed >= 33  # all outputs of ReLU, at least
    assert total.container_bytes < total.packed_tensor_bytes / 1.05


class Attention(nn.Module):
    """Chunks, transposed views, an additive mask that is a buffer, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)
        self.register_buffer("mask", torch.full((64, 64), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            each.view(*x.shape[:2], 4, 8).transpose(1, 2) for each in self.qkv(x).chunk(3, -1)
        )
        weights = (q @ k.transpose(-1, -2) + self.mask).softmax(-1)
        return (nn.functional.dropout(weights, 0.5) @ v).transpose(1, 2).flatten(2)


class Operations(nn.Module):
    """Functions that save many kinds of tensors."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x)
        y = torch.where(y > 0.5, y.double().square().float(), y.sin())  # bool, float64
        z = torch.view_as_real(torch.view_as_complex(y.view(*y.shape[:-1], -1, 2)).exp())
        y = y + z.reshape(y.shape)
        y = y * y.expand(3, *y.shape).sum(0)  # strides of 0
        y = y.gather(-1, y.argsort(-1))  # int64
        y = nn.functional.max_pool2d(y.half().relu().float(), 2)
        return y[:, ::2].sigmoid().cumprod(1) * y[:, 1:].tanh()


MODELS = {
    "residual": (small_network(), images(2, 32)),
    "attention": (Attention(), torch.randn(4, 64, 32)),
    "transformer": (
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True),
        torch.randn(4, 64, 32),
    ),
    "lstm": (nn.LSTM(32, 48, 2, batch_first=True), torch.randn(8, 32, 32)),
    "channels_last": (
        small_network().train().to(memory_format=torch.channels_last),
        images(size=32).to(memory_format=torch.channels_last),
    ),
    "conv3d": (
        nn.Sequential(nn.Conv3d(2, 8, 3), nn.LeakyReLU(), nn.MaxPool3d(2), nn.GELU()),
        torch.randn(2, 2, 16, 16, 16),
    ),
    "operations": (Operations(), torch.randn(2, 2, 64, 64)),
}


def first_output(model: nn.Module, x: Tensor) -> Tensor:
    output = model(x)
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_plain_run(name):
    model, x = MODELS[name]
    with save_compressed(min_bytes=256) as saved:
        pass
    found = gradients_of(first_output, model, x, saved)
    assert_all_same_bits(found, gradients_of(first_output, model, x))
    assert saved.report().total().packed > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM, nn.RNN, nn.GRUCell, nn.LSTMCell, nn.RNNCell])
def test_recurrent_layers_have_the_gradients_of_the_plain_run(layer, dtype):
    """Their gates are views of one storage with version counters of their own."""
    torch.manual_seed(0)
    model = layer(32, 128).to(dtype)
    shape = (96, 32) if issubclass(layer, nn.RNNCellBase) else (3, 96, 32)
    x = torch.randn(shape, dtype=dtype)
    found = gradients_of(first_output, model, x, save_compressed())
    assert_all_same_bits(found, gradients_of(first_output, model, x))


# ---- Unpacking more than once --------------------------------------------------------------------


def test_a_retained_graph_gives_the_same_gradients_again():
    model = small_network()
    with save_compressed() as saved:
        loss = model(images(size=32)).square().sum()
    parameters = list(model.parameters())
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters)
    assert_all_same_bits(list(second), list(first))
    total = saved.report().total()
    assert total.unpacks == 2 * (total.packed + total.repeated) > 0
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, parameters)


def second_order(model: nn.Module, x: Tensor) -> Tensor:
    loss = model(x).tanh().sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    return torch.cat([each.flatten() for each in gradients])


def test_double_backward_gives_the_same_bits():
    model = small_network()
    saved = save_compressed()
    found = gradients_of(second_order, model, images(size=32), saved)
    assert_all_same_bits(found, gradients_of(second_order, model, images(size=32)))
    assert saved.report().total().packed > 0


def test_a_penalty_on_gradients_may_have_its_graph_made_outside():
    def penalty(saving: contextlib.AbstractContextManager) -> list[Tensor]:
        model, x = small_network(), images(size=32).requires_grad_()
        with saving:
            output = model(x).tanh().sum()
        (gradient,) = torch.autograd.grad(output, x, create_graph=True)
        (output + gradient.square().sum()).backward()
        return [x.grad, *(p.grad for p in model.parameters())]

    assert_all_same_bits(penalty(save_compressed()), penalty(contextlib.nullcontext()))


def test_saved_tensors_can_be_looked_at():
    x = torch.randn(64, 64, requires_grad=True)
    with save_compressed():
        y = x.relu()
    assert_same_bits(y.grad_fn._saved_result, y)
    assert_same_bits(y.grad_fn._saved_result, y)


# ---- In place ------------------------------------------------------------------------------------


class Square(torch.autograd.Function):
    """Saves its input by itself."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def test_what_is_changed_in_place_after_it_was_saved_has_the_right_gradient():
    def run(saving: contextlib.AbstractContextManager, change: bool) -> Tensor:
        x = torch.randn(64, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with saving:
            hidden = x.relu()
            y = hidden * hidden
            if change:
                hidden.detach().add_(1)
        y.sum().backward()
        return x.grad

    expected = run(contextlib.nullcontext(), change=False)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run(contextlib.nullcontext(), change=True)
    assert_same_bits(run(save_compressed(), change=True), expected)


@pytest.mark.parametrize("why", [PARAMETER, "small", "hardly smaller"])
def test_what_is_left_as_it_is_may_not_be_changed_in_place(why):
    x = torch.randn(64, 64, requires_grad=True)
    with save_compressed(min_bytes=2**30 if why == "small" else 0, min_ratio=2) as saved:
        hidden = x if why == PARAMETER else x + 1
        y = hidden * hidden
    assert list(saved.report().total().kept) == [why]
    with torch.no_grad():
        hidden.add_(1)
    with pytest.raises(RuntimeError, match=r"inplace operation: .* \[64, 64\].* expected version"):
        y.sum().backward()


def test_a_parameter_whose_data_are_replaced_is_followed():
    """As autograd alone does, and as sharded training needs it."""

    def run(saving: contextlib.AbstractContextManager) -> Tensor:
        x = torch.ones(4, 4, requires_grad=True)
        weight = nn.Parameter(torch.ones(4, 4))
        with saving:
            y = x * weight
        weight.data = torch.full((4, 4), 3.0)
        y.sum().backward()
        return x.grad

    assert_same_bits(run(save_compressed()), run(contextlib.nullcontext()))


def test_a_backward_function_that_changes_what_it_saved_changes_it_for_itself():
    class Careless(Square):
        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return x.mul_(2).mul_(gradient)

    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with save_compressed(min_bytes=0) as saved:
        hidden = x.relu()
        y = Careless.apply(hidden) + hidden.square()
    y.sum().backward()
    assert_same_bits(x.grad, 4 * x.detach().relu())
    assert saved.report().total().repeated > 0


# ---- With other hooks ----------------------------------------------------------------------------


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_the_inputs_of_checkpoints_are_compressed(use_reentrant):
    model = small_network()

    def forward(model: nn.Module, x: Tensor) -> Tensor:
        for part in (model[:2], model[2], model[3], model[4:]):
            x = checkpoint(part, x, use_reentrant=use_reentrant)
        return x

    saved = save_compressed(min_bytes=512)
    found = gradients_of(forward, model, images(size=32), saved)
    assert_all_same_bits(found, gradients_of(plain_call, model, images(size=32)))
    packed = {row.made_by: row.packed for row in saved.report().by_kind() if row.packed}
    assert packed == {"CheckpointFunction" if use_reentrant else "Relu": 3}


def test_a_backward_pass_inside_compresses_what_checkpoints_compute_again():
    def run(saving: contextlib.AbstractContextManager) -> list[Tensor]:
        model, x = small_network(), images(size=32).requires_grad_()
        with saving:
            checkpoint_sequential(model, 2, x, use_reentrant=True).square().sum().backward()
        return [x.grad, *(p.grad for p in model.parameters())]

    saved = save_compressed()
    assert_all_same_bits(run(saved), run(contextlib.nullcontext()))
    assert saved.report().total().packed > 2


def test_of_hooks_inside_of_each_other_the_innermost_apply():
    model = small_network()
    outer, inner = save_compressed(min_bytes=256), save_compressed(min_bytes=256)

    def forward(model: nn.Module, x: Tensor) -> Tensor:
        x = model[0](x)
        with inner:
            x = model[2](model[1](x))
        with save_on_cpu():
            x = model[3](x)
        return model[6](model[5](model[4](x)))

    found = gradients_of(forward, model, images(size=32), outer)
    assert_all_same_bits(found, gradients_of(plain_call, model, images(size=32)))
    counts = outer.report().total(), inner.report().total()
    recorded: list[Tensor] = []
    with saved_tensors_hooks(lambda x: recorded.append(x), lambda _: None):
        model(images(size=32).requires_grad_())
    assert all(each.packed > 0 for each in counts)
    assert sum(each.saves for each in counts) < len(recorded)


# ---- Threads, exceptions, entering ---------------------------------------------------------------


def test_threads_with_an_object_each_and_with_one_for_all_get_the_same_gradients():
    model, x = small_network(), images(size=32)
    expected = gradients_of(plain_call, model, x)
    common = save_compressed(min_bytes=256)
    objects = [common, common, save_compressed(min_bytes=256), save_compressed(min_bytes=256)]
    found: list[list[Tensor]] = [[] for _ in objects]

    def work(index: int) -> None:
        for _ in range(3):
            # Not of a copy: all threads run the same modules.
            leaf = x.clone().requires_grad_()
            with objects[index]:
                loss = model(leaf).float().square().sum()
            found[index] = [loss, *torch.autograd.grad(loss, [leaf, *model.parameters()])]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(objects))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert_all_same_bits(each, expected)
    assert common.report().total().saves == 2 * objects[2].report().total().saves


def test_a_graph_can_be_unpacked_by_another_thread():
    model, x = small_network(), images(size=32).requires_grad_()
    with save_compressed():
        loss = model(x).float().square().sum()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    assert_same_bits(x.grad, gradients_of(plain_call, small_network(), images(size=32))[1])


def test_an_exception_in_the_forward_pass_leaves_nothing_behind():
    model = small_network()
    hooks_before = hooks_of(model)
    saved = save_compressed(model)
    with pytest.raises(RuntimeError, match="channels"), saved:
        model(torch.randn(1, 5, 12, 12))
    with saved:
        pass
    saves = saved.report().total().saves
    model(images(size=32).requires_grad_()).sum().backward()
    assert saved.report().total().saves == saves
    assert hooks_of(model) == hooks_before


def test_it_can_be_entered_again_but_not_twice():
    model = small_network()
    saved = save_compressed(model)
    for _ in range(2):
        with saved:
            loss = model(images(size=32)).sum()
        loss.backward()
    once = save_compressed(model)
    with once:
        model(images(size=32)).sum()
    assert saved.report().total().saves == 2 * once.report().total().saves
    with saved, pytest.raises(RuntimeError, match="entered already"), saved:
        pass


def test_where_pytorch_allows_no_hooks_nothing_is_left_behind():
    model = small_network()
    saved = save_compressed(model)
    with (
        torch.autograd.graph.disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
        saved,
    ):
        pass
    assert not hooks_of(model)
    with saved:
        model(images(size=32))
    assert saved.report().total().saves > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("min_ratio", float("nan")), ("block_size", 1), ("max_zero_run", 3), ("base", "lost")],
)
def test_a_wrong_argument_is_named(name, value):
    with pytest.raises(ValueError, match=about(name)):
        save_compressed(**{name: value})


@pytest.mark.parametrize("after", ["an operation", "the end", "backward"])
def test_what_an_operation_fills_after_it_was_saved_is_saved_filled(after):
    """PyTorch 2.13 hands the noise of rrelu to the hooks before it is filled, so a hook that copies
    it has what was in its memory before: here zeros, which become small."""
    x = torch.randn(20_000, requires_grad=True)

    def gradient(saving: contextlib.AbstractContextManager) -> Tensor:
        torch.manual_seed(0)
        noise = torch.zeros_like(x)
        with saving:
            y = torch.ops.aten.rrelu_with_noise(x * 2, noise, 0.1, 0.3, True)
            if after == "backward":
                return torch.autograd.grad(y.sum(), x)[0]
            if after == "an operation":
                y = (y * y).exp()
        return torch.autograd.grad(y.sum(), x)[0]

    expected = gradient(contextlib.nullcontext())
    with pytest.raises(AssertionError):  # what hooks that copy get
        assert_same_bits(gradient(saved_tensors_hooks(Tensor.clone, lambda copy: copy)), expected)
    saved = save_compressed()
    assert_same_bits(gradient(saved), expected)
    assert any(row.packed for row in saved.report().rows)


def test_what_is_written_to_soon_after_it_was_saved_keeps_its_saved_values():
    """Unlike that, it shows in the version counter."""
    weight = torch.ones(20_000, requires_grad=True)
    x = torch.arange(20_000.0)
    with save_compressed() as saved:
        y = weight * x
        x.add_(1)
    assert any(row.packed for row in saved.report().rows)
    assert_same_bits(torch.autograd.grad(y.sum(), weight)[0], torch.arange(20_000.0))
