"""Taps change no output, and nothing that is the process's or travels with the model."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import warnings

import pytest
import torch
import torch._dynamo
from helpers import about, assert_same_bits, saved_and_loaded
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.optim.swa_utils import AveragedModel

from torch_ebpc import CompressionMeter, Taps, save_compressed


@pytest.fixture(autouse=True)
def _prototypes():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The PyTorch API of nested tensors")
        warnings.filterwarnings("ignore", message="(?s).*torch.jit.script.* is deprecated")
        yield


# ---- Paths that PyTorch takes --------------------------------------------------------------------


def encoder(**options) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2).eval()


TOKENS = torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(1))
PADDING = torch.arange(9) >= torch.tensor([[9], [5], [2]])
CAUSAL = torch.ones(9, 9, dtype=torch.bool).triu(1)

RUNS = {
    "encoder": lambda model: model(TOKENS),
    "padded": lambda model: model(TOKENS, src_key_padding_mask=PADDING),
    "causal": lambda model: model(TOKENS, mask=CAUSAL),
    "layer": lambda model: model.layers[0](TOKENS),
    "attention": lambda model: model.layers[0].self_attn(TOKENS, TOKENS, TOKENS)[0],
}
MODES = [torch.no_grad, torch.inference_mode, torch.enable_grad]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}])
def test_functions_change_no_output_of_an_encoder(mode, options):
    model = encoder(**options)
    with mode():
        for run in RUNS.values():
            expected = run(model)
            for of in ("outputs", "inputs"):
                with Taps(model, lambda tap, x: None, (), functions=[torch.relu, F.gelu], of=of):
                    assert_same_bits(run(model), expected)


def test_a_meter_of_functions_changes_no_output_of_a_padded_encoder():
    model = encoder()
    with torch.no_grad():
        expected = RUNS["padded"](model)
        with CompressionMeter(model, (), functions=[torch.relu], mode="observe"):
            assert_same_bits(RUNS["padded"](model), expected)


@pytest.mark.parametrize("layers", [nn.TransformerEncoder, nn.MultiheadAttention])
def test_layers_that_take_no_other_path_with_hooks_change_no_output(layers):
    attention = nn.MultiheadAttention(32, 2, batch_first=True).eval()
    model, run = (
        (encoder(), RUNS["padded"])
        if layers is nn.TransformerEncoder
        else (nn.ModuleDict({"a": attention}), lambda model: model["a"](TOKENS, TOKENS, TOKENS)[0])
    )
    with torch.no_grad():
        expected = run(model)
        with Taps(model, lambda tap, x: None, layers, functions=[torch.relu]):
            assert_same_bits(run(model), expected)


def test_hooks_that_switch_off_a_fused_layer_are_warned_of():
    model = encoder()
    with pytest.warns(UserWarning, match=about("layers.0, layers.1")):
        Taps(model, lambda tap, x: None, nn.Linear)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Taps(model, lambda tap, x: None, nn.TransformerEncoder, functions=[torch.relu])
        Taps(encoder().train(), lambda tap, x: None, nn.Linear)
    # What the warning says.
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for run in RUNS.values():
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("error")
                expected = run(model)
                with Taps(model, lambda tap, x: None, nn.Linear):
                    assert_same_bits(run(model), expected)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.filterwarnings("ignore:.*PyTorch has a fused kernel")
def test_nested_tensors_are_handed_to_the_callback_as_they_are():
    nested = []
    model = encoder()
    with torch.no_grad(), Taps(model, lambda tap, x: nested.append(x.is_nested), nn.Linear):
        RUNS["padded"](model)
    assert nested
    assert all(nested)


def test_functions_of_an_encoder_that_runs_layer_by_layer_are_seen():
    names = []
    for model in (encoder().train(), encoder()):  # with gradients, not fused either
        with Taps(model, lambda tap, x: names.append(tap.name), (), functions=[torch.relu]):
            RUNS["encoder"](model)
    assert names == ["layers.0.relu#1", "layers.1.relu#1"] * 2


def test_modes_of_the_models_own_stay_where_they_are():
    class Counting(torch.overrides.TorchFunctionMode):
        count = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            Counting.count += func is F.multi_head_attention_forward
            return func(*args, **(kwargs or {}))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(32, 2, batch_first=True)

        def forward(self, x):
            with Counting():
                return torch.relu(self.attention(x, x, x)[0])

    model, names = Model().eval(), []
    with (
        torch.no_grad(),
        Taps(model, lambda tap, x: names.append(tap.name), (), functions=[torch.relu]),
        Taps(model, lambda tap, x: names.append(tap.name), (), functions=[torch.relu]),
    ):
        model(TOKENS)
    assert names == ["relu#1", "relu#1"]
    assert Counting.count == 1
    assert torch.overrides._get_current_function_mode_stack() == []


# ---- State of the process ------------------------------------------------------------------------


def graphs_compiled():
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(3))
    return len(compiled)


def taps():
    return Taps(nn.Sequential(nn.ReLU()), lambda tap, x: None, functions=[torch.relu])


@pytest.mark.parametrize("order", ["nested", "overlapping"])
def test_compiled_code_runs_again_when_the_last_block_is_left(order):
    first, second = taps(), taps()
    first.__enter__()
    second.__enter__()
    one, other = (second, first) if order == "nested" else (first, second)
    one.__exit__(None, None, None)
    assert graphs_compiled() == 0
    other.__exit__(None, None, None)
    assert graphs_compiled() == 1


def test_blocks_in_threads_generators_and_tasks_leave_the_stance_as_it_was():
    def block(entered, leave):
        with taps():
            entered.wait(timeout=60)
            leave.wait(timeout=60)

    entered = threading.Barrier(3)
    leave = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=block, args=(entered, each)) for each in leave]
    for thread in threads:
        thread.start()
    entered.wait(timeout=60)
    for thread, event in zip(threads, leave, strict=True):
        event.set()
        thread.join()
    assert graphs_compiled() == 1

    def generator():
        with taps():
            yield

    generators = [generator(), generator()]
    for each in generators:
        next(each)
    for each in generators:
        each.close()
    assert graphs_compiled() == 1

    async def task(steps):
        with taps():
            for _ in range(steps):
                await asyncio.sleep(0)

    async def both():
        await asyncio.gather(task(2), task(4))

    asyncio.run(both())
    assert graphs_compiled() == 1


# ---- Copies --------------------------------------------------------------------------------------


def network():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": lambda model: saved_and_loaded(model, weights_only=False),
    "AveragedModel": lambda model: AveragedModel(model).module,
    "of a copy": lambda model: pickle.loads(pickle.dumps(copy.deepcopy(model))),
}
BLOCKS = {
    "layers": lambda model, found: Taps(model, lambda tap, x: found.append(tap.name) or -x),
    "functions": lambda model, found: Taps(
        model, lambda tap, x: found.append(tap.name) or -x, functions=[torch.add]
    ),
    "inputs": lambda model, found: Taps(
        model, lambda tap, x: found.append(tap.name) or -x, of="inputs"
    ),
    "gradients": lambda model, found: Taps(
        model, lambda tap, x: found.append(tap.name), of="gradients"
    ),
    "save_compressed": lambda model, found: save_compressed(model),
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("make_copy", COPIES)
def test_a_copy_made_inside_of_a_block_is_not_tapped(make_copy, block):
    model, found, x = network(), [], torch.rand(2, 4)
    expected = model(x)
    with BLOCKS[block](model, found):
        model(x).sum().backward()
        copied = COPIES[make_copy](model)
        found.clear()
        assert_same_bits(copied(x), expected)
        copied(x).sum().backward()
    assert_same_bits(copied(x), expected)
    assert found == []
    assert [row.name for row in _report(copied, x).rows] == ["1#1"]


def _report(model, x):
    with CompressionMeter(model, mode="observe") as meter:
        model(x)
    return meter.report()


def test_a_pickle_made_inside_of_a_block_needs_nothing_of_this_package():
    model = network()
    with Taps(model, lambda tap, x: None, functions=[torch.add]):
        assert b"torch_ebpc" not in pickle.dumps(model)


def test_dtype_and_state_may_change_inside_of_a_block():
    model, dtypes = network(), []
    with Taps(model, lambda tap, x: dtypes.append(x.dtype), functions=[torch.add]):
        state = copy.deepcopy(model.state_dict())
        model(torch.rand(2, 4))
        model.to(torch.bfloat16)
        model(torch.rand(2, 4).bfloat16())
        model.float().load_state_dict(state)
        model(torch.rand(2, 4))
    assert dtypes == [torch.float32, torch.bfloat16, torch.float32]


# ---- TorchScript parts ---------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["outputs", "inputs", "gradients"])
def test_a_scripted_part_is_left_out_with_functions_too(of):
    model = nn.Sequential(*network(), torch.jit.script(network()))
    names = []
    with pytest.warns(UserWarning, match=about("layers inside of 2")):
        taps = Taps(model, lambda tap, x: names.append(tap.name), functions=[torch.relu], of=of)
    with taps:
        model(torch.rand(2, 4)).sum().backward()
    assert names == ["1#1"]
