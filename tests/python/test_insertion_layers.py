"""A layer with compression is still the layer: to the model, to PyTorch and to other libraries."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import warnings

import pytest
import torch
import torch.distributed as dist
from helpers import SMALL_CALLS, assert_same_bits, images, small_network
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, parametrize

from torch_ebpc import (
    CompressionMeter,
    Quantizer,
    compression_report,
    insert_compression,
    reset_compression,
)
from torch_ebpc._compressed_layer import _fixed_point

CALIBRATED = Quantizer(bits=16, scale="calibrated")


# ---- What a model reads of its layers ------------------------------------------------------------


def encoder_layer():
    return nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_transformer_layer_that_reads_weights_gives_its_own_output(training, gradients):
    layer = encoder_layer().train(training)
    x = torch.rand(2, 5, 16)
    with torch.set_grad_enabled(gradients):
        inserted = insert_compression(layer, nn.Linear, example_inputs=x)
        assert_same_bits(inserted(x).detach(), layer(x).detach())
    report = compression_report(inserted)
    assert [row.name for row in report.rows] == ["linear1#1", "linear2#1"]
    assert report.never_called == ["self_attn.out_proj"]  # attention reads its weight


def test_attention_that_reads_the_weight_of_its_projection_gives_its_own_output():
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    x = torch.rand(2, 5, 16)
    inserted = insert_compression(attention, nn.Linear, example_inputs=(x, x, x))
    assert_same_bits(inserted(x, x, x)[0].detach(), attention(x, x, x)[0].detach())
    assert compression_report(inserted).never_called == ["out_proj"]


def test_an_encoder_that_nests_tensors_gives_its_own_output():
    encoder = nn.TransformerEncoder(encoder_layer(), 2).eval()
    x, padding = torch.rand(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    inserted = insert_compression(encoder, nn.Linear)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        expected = encoder(x, src_key_padding_mask=padding)
        assert_same_bits(inserted(x, src_key_padding_mask=padding), expected)
        assert_same_bits(inserted(x), encoder(x))
    named = {str(each.message).split()[0] for each in caught if "without" in str(each.message)}
    assert named == {f"layers.{i}.linear{j}" for i in (0, 1) for j in (1, 2)}
    assert {row.images for row in compression_report(inserted).rows} == {2}  # without a mask


class Summed(nn.Module):
    def forward(self, x, *others, times=1):
        return (x + sum(others)) * times


class Calls(nn.Module):
    """Calls layers with more than one tensor, and by keyword."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.summed = Summed()
        self.up = nn.ConvTranspose1d(3, 3, 3, stride=2)

    def forward(self, x):
        x = self.linear(input=x)
        x = self.summed(x, x, times=2)
        return self.up(x.mT.contiguous(), output_size=[8])


def test_layers_may_be_called_with_any_arguments():
    model = Calls()
    x = torch.rand(2, 3, 3)
    inserted = insert_compression(model, [nn.Linear, Summed, nn.ConvTranspose1d], example_inputs=x)
    assert_same_bits(inserted(x).detach(), model(x).detach())
    names = [row.name for row in compression_report(inserted).rows]
    assert names == ["linear#1", "summed#1", "up#1"]


def test_classes_names_parameters_and_state_dicts_stay():
    model = small_network()
    inserted = insert_compression(model, [nn.Conv2d, nn.ReLU, nn.Linear])
    for (name, layer), (plain_name, plain) in zip(
        inserted.named_modules(), model.named_modules(), strict=True
    ):
        assert (name, type(layer)) == (plain_name, type(plain))
    assert [name for name, _ in inserted.named_parameters()] == [
        name for name, _ in model.named_parameters()
    ]
    inserted.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(inserted.state_dict(), strict=True)


@pytest.mark.parametrize("change", [parametrizations.weight_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize("first", [True, False])
def test_layers_are_parametrized_before_and_after(change, first):
    def sequence():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(3, 3)).eval()

    model, inserted = sequence(), sequence()
    x = torch.rand(2, 3)
    change(model[0])
    if first:
        change(inserted[0])
    inserted = insert_compression(inserted, nn.Linear, inplace=True)
    if not first:
        change(inserted[0])
    inserted.load_state_dict(model.state_dict(), strict=True)
    assert_same_bits(inserted(x).detach(), model(x).detach())
    parametrize.remove_parametrizations(inserted[0], "weight")
    assert type(inserted[0]) is nn.Linear
    assert_same_bits(inserted(x).detach(), model(x).detach())
    assert compression_report(inserted).rows[0].images == 4


def test_hooks_on_the_layer_run_before_and_after():
    model = nn.Sequential(nn.ReLU())
    model[0].register_forward_hook(lambda layer, inputs, y: y + 1)
    seen = []
    inserted = insert_compression(model, quantizer=Quantizer(bits=2, scale=1.0))
    inserted[0].register_forward_hook(lambda layer, inputs, y: seen.append(y))
    inserted(torch.tensor([[-3.0, 0.2]]))  # 1 and 1.2 once the first has run
    assert seen[0].tolist() == [[1.0, 1.0]]


def in_a_file(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "same", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), in_a_file]
)
def test_copied_and_pickled_models_compress_and_count_by_themselves(same):
    model = small_network()
    inserted = insert_compression(model, [nn.ReLU, nn.Linear], example_inputs=images())
    other = same(inserted)
    # In another process, PyTorch gives hooks their numbers anew.
    number = torch.utils.hooks.RemovableHandle.next_id
    torch.utils.hooks.RemovableHandle.next_id = 0
    try:
        for layer in other.modules():
            layer.register_forward_hook(lambda layer, inputs, y: None)
    finally:
        torch.utils.hooks.RemovableHandle.next_id = max(number, 1000)
    assert_same_bits(other(images()).detach(), model(images()).detach())
    assert {row.images for row in compression_report(other).rows} == {2}
    assert compression_report(inserted).rows == []


def test_a_module_with_two_names_is_one_layer():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    model.add_module("again", model[1])
    inserted = insert_compression(model, example_inputs=torch.rand(2, 3))
    inserted(torch.rand(2, 3))
    assert inserted.again is inserted[1]
    assert [row.name for row in compression_report(inserted).rows] == ["1#1", "1#2"]


# ---- Fixed point ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [nn.Module.half, nn.Module.bfloat16, nn.Module.double, lambda m: m.to(torch.float16)],
    ids=["half", "bfloat16", "double", "to"],
)
def test_a_calibrated_scale_stays_when_the_models_dtype_changes(convert):
    model = nn.Sequential(nn.ReLU())
    x = torch.rand(64, 8) * 1e-4
    inserted = convert(insert_compression(model, quantizer=CALIBRATED, example_inputs=x))
    with CompressionMeter(model, quantizer=CALIBRATED, mode="insert") as meter:
        with meter.calibrate():
            model(x)
        for dtype in (torch.float16, torch.bfloat16):
            y = inserted(x.to(dtype))
            assert_same_bits(y, model(x.to(dtype)))
            assert torch.allclose(y.float(), x, rtol=0.01, atol=1e-7)


def test_fixed_point_of_tensor_operations_is_the_quantizers():
    maps = [
        torch.randn(500, generator=torch.Generator().manual_seed(4)),
        torch.tensor([-8.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5, 127.0, 3e38]),
        torch.tensor([1e-45, -1e-40, 0.0]),
        torch.zeros(3),
        torch.empty(0),
    ]
    settings = itertools.product(
        (2, 5, 8, 16), (True, False), ("nearest", "truncate"), ("batch", 0.013), (1.0, 0.75)
    )
    for bits, signed, rounding, scale, headroom in settings:
        quantizer = Quantizer(bits, signed, rounding, scale, headroom)
        for dtype, x in itertools.product((torch.float32, torch.float16, torch.bfloat16), maps):
            x = x.clamp(-6e4, 6e4) if dtype == torch.float16 else x
            x = (x if signed else x.abs()).to(dtype)
            largest = x.abs().max().item() if x.numel() else 0.0
            expected_scale = quantizer.scale_for(largest)
            words, found_scale = _fixed_point(
                x,
                [0.0 if scale == "batch" else expected_scale],
                torch.zeros(1, dtype=torch.int64),
                quantizer.smallest_word,
                quantizer.largest_word,
                rounding == "nearest",
                headroom,
                quantizer.dtype,
            )
            assert_same_bits(words, quantizer.quantize(x, expected_scale))
            assert_same_bits(
                (words.to(torch.float32) * found_scale).to(dtype),
                quantizer.dequantize(words, expected_scale, dtype),
            )


# ---- Limits, arguments ---------------------------------------------------------------------------


def test_a_models_own_map_has_no_limit_of_bytes(monkeypatch):
    # The limit of untrusted bytes, 1 GiB or 64 times the container, would need such a map here.
    limits = []
    decompress = torch.ops.torch_ebpc.decompress

    def spy(packed, shape, dtype, memory_format, max_bytes):
        limits.append(max_bytes)
        return decompress(packed, shape, dtype, memory_format, max_bytes)

    monkeypatch.setattr(torch.ops.torch_ebpc, "decompress", spy)
    insert_compression(nn.Sequential(nn.ReLU()))(torch.zeros(2, 3))
    assert limits == [2**63 - 1]


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, *, first, second=None):
        return self.relu(first) if second is None else self.relu(first) + self.relu(second)


def test_example_inputs_may_be_a_mapping_of_keywords():
    x = {"first": torch.randn(2, 3), "second": torch.randn(2, 3)}
    given = copy.deepcopy(x)
    inserted = insert_compression(ByKeyword(), example_inputs=x)
    assert all(torch.equal(x[key], given[key]) for key in x)
    inserted(**x)
    assert [row.name for row in compression_report(inserted).rows] == ["relu#1", "relu#2"]


# ---- Data-parallel training ----------------------------------------------------------------------


@pytest.fixture
def _process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("_process_group")
@pytest.mark.parametrize("compiled", [False, True])
def test_counts_are_not_sent_to_other_ranks(compiled):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())
    inserted = insert_compression(model, example_inputs=torch.rand(2, 3))
    module = torch.compile(inserted, backend="eager") if compiled else inserted
    replicas = DistributedDataParallel(module)
    sent = {name.split(".")[-1] for name in replicas.named_module_buffers}
    assert sent == {"running_mean", "running_var", "num_batches_tracked"}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*DistributedDataParallel replaces")
        replicas(torch.rand(4, 3)).sum().backward()
    assert compression_report(replicas).rows[0].images == 4


@pytest.mark.usefixtures("_process_group")
def test_counts_that_are_sent_to_other_ranks_are_named():
    inserted = insert_compression(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    model = nn.Sequential(inserted, nn.Linear(3, 3))
    message = r"^1: DistributedDataParallel replaces its counts by those of rank 0"
    with pytest.warns(UserWarning, match=message):
        DistributedDataParallel(model)(torch.rand(2, 3))


@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_averaged_model_counts_by_itself_once_it_is_reset(use_buffers):
    model = insert_compression(small_network(), quantizer=CALIBRATED, example_inputs=images())
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=use_buffers)
    for count in (2, 3, 4):
        model(images(count))
        averaged.update_parameters(model)  # replaces or averages all buffers
    reset_compression(averaged)
    assert_same_bits(averaged(images(5)).detach(), model(images(5)).detach())
    report = compression_report(averaged.module)
    assert [(row.name, row.images) for row in report.rows] == [(name, 5) for name in SMALL_CALLS]
    assert {row.images for row in compression_report(model).rows} == {2 + 3 + 4 + 5}
