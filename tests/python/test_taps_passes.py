"""Taps: what a pass and a call are, in parts, recursion, threads, checkpoints and callbacks."""

from __future__ import annotations

import threading

import pytest
import torch
from helpers import hooks_of, tapped
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from torch_ebpc import CompressionMeter, Quantizer, Tap, Taps

# ---- A pass --------------------------------------------------------------------------------------


def two_parts() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Linear(8, 4), nn.ReLU()), nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    )


def test_each_call_of_a_part_by_itself_is_a_pass():
    net = two_parts()
    with CompressionMeter(net, mode="observe") as meter:
        for _ in range(4):
            net[1](net[0](torch.rand(3, 8)))
    rows = meter.report().rows
    assert [(row.name, row.images) for row in rows] == [("0.1#1", 12), ("1.1#1", 12)]


def test_a_part_called_by_itself_can_be_calibrated():
    net = two_parts()
    quantizer = Quantizer(scale="calibrated")
    with CompressionMeter(net, quantizer=quantizer, mode="observe") as meter:
        with meter.calibrate():
            net[0](torch.ones(2, 8))
            net[0](torch.zeros(2, 8))
        for _ in range(2):
            net[0](torch.ones(2, 8))
    assert list(meter.calibration) == ["0.1#1"]
    assert [(row.name, row.images) for row in meter.report().rows] == [("0.1#1", 4)]


def test_a_matched_layer_called_by_itself_is_a_pass():
    net = two_parts()
    assert tapped(net, lambda: [net[0][1](torch.ones(2)) for _ in range(3)]) == ["0.1#1"] * 3


def test_functions_are_seen_in_a_part_called_by_itself():
    class Part(nn.Module):
        def forward(self, x):
            return torch.relu(torch.relu(x))

    net = nn.Sequential(Part())
    found = tapped(
        net, lambda: [net[0](torch.ones(2)) for _ in range(2)], (), functions=[torch.relu]
    )
    assert found == ["0.relu#1", "0.relu#2"] * 2


class Tree(nn.Module):
    """Calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, depth: int) -> Tensor:
        x = self.relu(x)
        return self.relu(x + self(x[:, ::2], depth - 1).sum()) if depth else x


def test_a_model_that_calls_itself_is_in_one_pass():
    tree = Tree()
    found = tapped(tree, lambda: [tree(torch.rand(2, 8), 2) for _ in range(2)])
    assert found == [f"relu#{i}" for i in range(1, 6)] * 2


def test_an_interrupted_pass_is_over_when_the_block_is_left():
    class Interrupted(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    model = nn.Sequential(nn.ReLU(), Interrupted())
    taps = Taps(model, lambda tap, x: None, functions=[torch.relu])
    with pytest.raises(KeyboardInterrupt), taps:
        model(torch.ones(2))
    assert _get_current_function_mode_stack() == []
    assert not hooks_of(model)


def test_passes_after_an_interrupted_one_begin_anew():
    class Interrupted(nn.Module):
        interrupt = True

        def forward(self, x):
            if self.interrupt:
                raise KeyboardInterrupt
            return x

    model = nn.Sequential(nn.ReLU(), Interrupted())
    found = []
    with Taps(model, lambda tap, x: found.append(tap.name)):
        with pytest.raises(KeyboardInterrupt):
            model(torch.ones(2))
        model[1].interrupt = False
        for _ in range(2):
            model(torch.ones(2))
    assert found == ["0#1"] * 3


# ---- Threads -------------------------------------------------------------------------------------


class Meeting(nn.Module):
    """All threads are inside at once."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.a, self.b = nn.ReLU(), nn.ReLU()
        self.barrier = threading.Barrier(threads)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        self.barrier.wait(timeout=60)
        return torch.relu(self.b(x))


def run_in_threads(count, function):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_thread_counts_its_own_calls_and_its_functions_are_seen():
    model = Meeting(4)
    with CompressionMeter(model, functions=[torch.relu], mode="observe") as meter:
        run_in_threads(4, lambda: model(torch.rand(2, 4)))
    rows = meter.report().rows
    assert [(row.name, row.images) for row in rows] == [("a#1", 8), ("b#1", 8), ("relu#1", 8)]
    assert meter.report().never_called == []


def test_a_pass_of_another_thread_outlives_the_block_and_leaves_nothing():
    class Waiting(nn.Module):
        def forward(self, x):
            inside.set()
            left.wait(timeout=60)
            return torch.relu(x)

    inside, left, modes, found = threading.Event(), threading.Event(), [], []
    model = nn.Sequential(Waiting())

    def run():
        model(torch.ones(2))
        modes.extend(_get_current_function_mode_stack())

    thread = threading.Thread(target=run)
    taps = Taps(model, lambda tap, x: found.append(tap.name), (), functions=[torch.relu])
    with taps:
        thread.start()
        inside.wait(timeout=60)
    left.set()
    thread.join()
    assert found == []  # it was called when the block was left
    assert modes == []
    assert not hooks_of(model)


# ---- Recomputation -------------------------------------------------------------------------------


class Part(nn.Module):
    """Two calls of one module, and one of a function."""

    def __init__(self, tail: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.relu = nn.ReLU()
        self.tail = tail  # whether the last call is none that is tapped

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.relu(self.linear(self.relu(x))))
        return self.linear(x) if self.tail else x


class Checkpointed(nn.Module):
    """Runs it twice, of which the gradients come in reverse."""

    def __init__(self, tail: bool = True) -> None:
        super().__init__()
        self.part = Part(tail)
        self.use_reentrant: bool | None = None  # None: without checkpoints

    def forward(self, x: Tensor) -> Tensor:
        x = self.part.relu(x)
        for _ in range(2):
            if self.use_reentrant is None:
                x = self.part(x)
            else:
                x = checkpoint(self.part, x, use_reentrant=self.use_reentrant)
        return x


@pytest.mark.parametrize("tail", [False, True])  # where an early stop ends
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_what_a_checkpoint_repeats_is_no_call(use_reentrant, tail):
    model = Checkpointed(tail)
    model.use_reentrant = use_reentrant
    with CompressionMeter(model, functions=[torch.tanh], mode="observe") as meter:
        for _ in range(2):
            model(torch.rand(4, 8, requires_grad=True)).sum().backward()
    calls = [f"part.relu#{i}" for i in range(1, 6)] + ["part.tanh#1", "part.tanh#2"]
    rows = meter.report().rows
    assert sorted(row.name for row in rows) == calls
    assert {row.images for row in rows} == {8}


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradients_of_what_a_checkpoint_repeats_have_the_name_of_the_call(use_reentrant):
    model = Checkpointed()

    def gradients():
        found = []
        x = torch.rand(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with Taps(
            model,
            lambda tap, g: found.append((tap.name, g.clone())),
            functions=[torch.tanh],
            of="gradients",
        ):
            for _ in range(2):
                model(x).sum().backward()
        return found

    expected = gradients()
    model.use_reentrant = use_reentrant
    found = gradients()
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert len(found) == 14
    for (_, gradient), (_, other) in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other)


def test_a_hook_on_a_gradient_that_runs_the_model_calls_nothing():
    model = nn.Sequential(nn.ReLU())

    def run():
        x = torch.rand(2, requires_grad=True)
        x.register_hook(lambda g: model(g))
        model(x).sum().backward()

    assert tapped(model, run) == ["0#1"]


# ---- Callbacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["outputs", "inputs", "gradients"])
def test_the_model_may_be_used_in_a_callback(of):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    found = []

    def callback(tap: Tap, x: Tensor) -> None:
        found.append(tap.name)
        model(torch.rand(2, 4))

    with Taps(model, callback, functions=[torch.relu], of=of):
        for _ in range(2):
            model(torch.rand(2, 4)).sum().backward()
    assert found == ["1#1"] * 2


def test_gradients_of_a_parameter_that_a_layer_returns_are_reported_once_a_pass():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.identity = nn.Identity()

        def forward(self, x):
            return self.identity(self.weight) * x

    model = Table()

    def run():
        for _ in range(3):
            model(torch.rand(3)).sum().backward()

    assert tapped(model, run, nn.Identity, of="gradients") == ["identity#1"] * 3
    assert not model.weight._backward_hooks
