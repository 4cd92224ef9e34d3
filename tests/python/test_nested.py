"""pack and unpack: nested containers of tensors."""

from __future__ import annotations

import io

import pytest
import torch
from safetensors.torch import load, save
from sample_inputs import DTYPES, assert_same_bits, feature_map, special_values

import torch_ebpc


def saved_and_loaded(content):
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def round_trip(content):
    return torch_ebpc.unpack(saved_and_loaded(torch_ebpc.pack(content)))


def test_every_dtype_comes_back_through_torch_save():
    content = {str(dtype): feature_map(dtype, (3, 700)) for dtype in DTYPES}
    content["special"] = special_values(torch.bfloat16)
    found = round_trip(content)
    assert found.keys() == content.keys()
    for name, x in content.items():
        assert_same_bits(found[name], x)


def test_a_flat_dict_goes_through_safetensors():
    tensors = {str(dtype): feature_map(dtype, (3, 700)) for dtype in DTYPES}
    found = torch_ebpc.unpack(load(save(torch_ebpc.pack(tensors))))
    for name, x in tensors.items():
        assert_same_bits(found[name], x)


def test_the_code_is_as_for_compress():
    x = feature_map(torch.int16, (3, 700))
    packed = torch_ebpc.pack([x], codec="auto")
    assert torch.equal(packed[0], torch_ebpc.compress(x, codec="auto"))
    assert torch.equal(torch_ebpc.unpack(packed)[0], x)
    packed = torch_ebpc.pack([x], 16, 4, "reused")
    assert torch.equal(packed[0], torch_ebpc.compress(x, None, 16, 4, "reused"))


def test_only_what_gets_smaller_is_packed_but_uint8_always():
    noise = torch.randn(1000)
    bytes_ = torch.randint(0, 256, (1000,), dtype=torch.uint8)
    packed = torch_ebpc.pack({"noise": noise, "zeros": torch.zeros(1000), "bytes": bytes_})
    assert packed["noise"] is noise
    assert packed["zeros"].dtype == torch.uint8
    assert packed["zeros"].numel() < 500
    assert packed["bytes"].numel() > 1000
    assert torch.equal(torch_ebpc.unpack(packed)["bytes"], bytes_)


def test_what_cannot_be_packed_stays_as_it_is():
    kept = {
        "int64": torch.arange(1000),
        "bool": torch.zeros(1000, dtype=torch.bool),
        "complex": torch.zeros(1000, dtype=torch.complex64),
        "sparse": torch.eye(100).to_sparse(),
        "meta": torch.zeros(1000, device="meta"),
        "frozen": torch.nn.Parameter(torch.zeros(1000), requires_grad=False),
        "leaf": torch.zeros(1000, requires_grad=True),
        "size": torch.Size([1, 2]),
        "number": 3,
    }
    packed = torch_ebpc.pack(kept)
    assert all(packed[name] is value for name, value in kept.items())


def test_the_structure_stays_and_nothing_given_is_changed():
    x = torch.zeros(1000)
    content = {"a": [x, (x, {3: x})], "b": None}
    packed = torch_ebpc.pack(content)
    assert content == {"a": [x, (x, {3: x})], "b": None}
    assert type(packed["a"][1]) is tuple
    found = torch_ebpc.unpack(packed)
    assert_same_bits(found["a"][1][1][3], x)
    assert found["b"] is None


def test_a_state_dict_keeps_its_class_and_versions():
    state = torch.nn.Sequential(torch.nn.Linear(9, 9), torch.nn.BatchNorm1d(9)).state_dict()
    found = round_trip(state)
    assert type(found) is type(state)
    assert found._metadata == state._metadata


def test_tied_weights_stay_tied_and_parameters_parameters():
    model = torch.nn.Sequential(torch.nn.Linear(50, 50), torch.nn.Linear(50, 50))
    model[0].weight.data.zero_()
    model[1].weight = model[0].weight
    found = round_trip(model.state_dict())
    assert found["0.weight"] is found["1.weight"]
    parameters = round_trip(dict(model.named_parameters(remove_duplicate=False)))
    assert parameters["0.weight"] is parameters["1.weight"]
    assert type(parameters["0.weight"]) is torch.nn.Parameter
    assert parameters["0.weight"].requires_grad


def test_an_integer_parameter_comes_back():
    words = torch.nn.Parameter(torch.ones(1000, dtype=torch.uint8), requires_grad=False)
    found = round_trip([words])[0]
    assert type(found) is torch.nn.Parameter
    assert torch.equal(found, words)


def test_a_list_that_holds_itself_comes_back_so():
    endless = [torch.zeros(1000)]
    endless.append(endless)
    found = torch_ebpc.unpack(torch_ebpc.pack(endless))
    assert found[1] is found


def test_progress_is_told_the_bytes_of_each_tensor():
    done = []
    content = {"a": torch.zeros(10), "b": [torch.zeros(5, dtype=torch.int64)]}
    packed = torch_ebpc.pack(content, progress=done.append)
    assert done == [40, 40]
    torch_ebpc.unpack(packed, progress=done.append)
    assert done[2:] == [packed["a"].nbytes, 40]


def test_the_limit_is_on_all_tensors_together():
    packed = torch_ebpc.pack([torch.zeros(1000), torch.zeros(1000, dtype=torch.int16)])
    assert len(torch_ebpc.unpack(packed, max_bytes=6000)) == 2
    message = r"content's tensors must have at most 5999 bytes \(max_bytes\), found 6000"
    with pytest.raises(torch_ebpc.EBPCLimitError, match=message):
        torch_ebpc.unpack(packed, max_bytes=5999)
    with pytest.raises(TypeError, match="max_bytes must be an int or None, got str"):
        torch_ebpc.unpack(packed, max_bytes="1")


def test_bytes_that_are_no_container_are_refused():
    with pytest.raises(torch_ebpc.EBPCFormatError):
        torch_ebpc.unpack({"a": torch.arange(100, dtype=torch.uint8)})
    damaged = torch_ebpc.pack([torch.zeros(1000)])
    damaged[0][-1] ^= 1
    with pytest.raises(torch_ebpc.EBPCChecksumError):
        torch_ebpc.unpack(damaged)


@pytest.mark.parametrize(
    "x",
    [
        torch.eye(3, dtype=torch.uint8).to_sparse(),
        torch.ones(3, dtype=torch.uint8, device="meta"),
        torch.ones([1] * 25, dtype=torch.uint8),
    ],
    ids=["sparse", "meta", "25 dimensions"],
)
def test_bytes_that_no_container_can_be_taken_for_stay_as_they_are(x):
    sizes = []
    (packed,) = torch_ebpc.pack([x], progress=sizes.append)
    (unpacked,) = torch_ebpc.unpack([packed])
    assert packed is x
    assert unpacked is x
    assert len(sizes) == 1


def test_bytes_of_a_class_of_their_own_are_refused():
    class Bytes(torch.Tensor):
        pass

    with pytest.raises(ValueError, match=r"must be of the class Tensor or Parameter, got .*Bytes"):
        torch_ebpc.pack([torch.zeros(3, dtype=torch.uint8).as_subclass(Bytes)])


def test_wrong_arguments_of_pack_are_refused():
    with pytest.raises(ValueError, match="block_size must be from 2 to 64, got 1"):
        torch_ebpc.pack([torch.zeros(3)], block_size=1)
