"""pack and unpack: nested containers of tensors."""

from __future__ import annotations

import collections
import dataclasses
import types
import warnings
from typing import NamedTuple

import pytest
import torch
from helpers import (
    DTYPES,
    NEW_DTYPES,
    about,
    assert_same_bits,
    feature_map,
    saved_and_loaded,
    special_values,
)
from safetensors.torch import load, save

import torch_ebpc


def round_trip(content):
    return torch_ebpc.unpack(saved_and_loaded(torch_ebpc.pack(content)))


def test_every_dtype_comes_back_through_torch_save():
    content = {str(dtype): feature_map(dtype, (3, 700)) for dtype in (*DTYPES, *NEW_DTYPES)}
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
        "bits": torch.zeros(1000, dtype=torch.uint8).view(torch.bits8),
        "conjugated": torch.zeros(1000, dtype=torch.complex64).conj(),
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
    with pytest.raises(torch_ebpc.EBPCLimitError, match="max_bytes"):
        torch_ebpc.unpack(packed, max_bytes=5999)


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


def test_wrong_arguments_of_pack_are_refused():
    with pytest.raises(ValueError, match=about("block_size")):
        torch_ebpc.pack([torch.zeros(3)], block_size=1)


# ---- What is found on the way, and what stays as it is -------------------------------------------


def stays(content, *messages):
    """What pack returns, which warns of all of these."""
    with pytest.warns(UserWarning, match="pack leaves as it is") as warned:
        packed = torch_ebpc.pack(content)
    (warning,) = warned
    assert all(message in str(warning.message) for message in messages)
    return packed


def test_values_that_are_made_when_they_are_asked_for_are_told_apart():
    """Each has died by the time that the next one is made, maybe in the same place."""

    class Lazy(dict):
        def items(self):
            return ((name, torch.full((100,), float(value))) for name, value in super().items())

    packed = torch_ebpc.pack(Lazy({f"w{i}": i for i in range(200)}))
    assert [torch_ebpc.unpack(each)[0].item() for each in dict.values(packed)] == list(range(200))


@pytest.mark.parametrize("make", [torch.zeros, lambda n: torch.nn.Parameter(torch.zeros(n))])
def test_tensors_with_attributes_keep_them(make):
    x = make(9000)
    x.scale = 0.5
    packed = stays({"x": x}, "content['x'] has attributes: scale")
    assert torch_ebpc.unpack(packed)["x"] is x


def test_a_subclass_of_parameter_stays_one():
    class Scaled(torch.nn.Parameter):
        pass

    x = Scaled(torch.zeros(9000))
    assert torch_ebpc.pack([x])[0] is x


@pytest.mark.parametrize(
    "view",
    [
        lambda flat: flat[:5000],
        lambda flat: flat.view(100, 100),
        lambda flat: flat[5000:],
        lambda flat: flat.view(torch.int32),
        lambda flat: flat.view(torch.float64),
        lambda flat: torch.from_numpy(flat.numpy())[7:],
    ],
)
def test_what_is_written_into_one_of_two_overlapping_tensors_shows_in_the_other(view):
    flat = torch.zeros(10000)
    packed = stays({"a": flat, "b": view(flat)}, "content['a'] overlaps with another")
    found = torch_ebpc.unpack(packed)
    found["a"].fill_(7)
    assert (found["b"] != 0).all()


def test_overlapping_tensors_go_through_a_file_as_they_do_by_themselves():
    flat = torch.zeros(10000)
    packed = stays({"a": flat, "b": flat[:5000]}, "content['b'] overlaps with another")
    found = torch_ebpc.unpack(saved_and_loaded(packed))
    found["a"].fill_(7)
    assert (found["b"] == 7).all()


def test_parts_of_one_memory_that_do_not_overlap_are_packed():
    first, second = torch.zeros(10000).split(5000)
    packed = torch_ebpc.pack([first, second])
    assert all(each.dtype == torch.uint8 for each in packed)


def test_what_overlaps_with_itself_stays_as_it_is():
    expanded = torch.zeros(100, 1).expand(100, 9000)
    windows = torch.zeros(9000).unfold(0, 3, 2)
    packed = stays([expanded, windows], "content[0] overlaps with itself", "content[1]")
    assert packed[0] is expanded
    assert packed[1] is windows
    transposed = torch.zeros(90, 100).t()
    assert torch_ebpc.pack([transposed, torch.zeros(200, 90)[::2]])[0].dtype == torch.uint8


@pytest.mark.parametrize("change", ["attribute", "view"])
def test_bytes_that_are_not_to_be_had_whole_are_refused(change):
    x = torch.zeros(9000, dtype=torch.uint8)
    if change == "attribute":
        x.scale = 1
    content = [x] if change == "attribute" else [x, x[5:]]
    reason = "has attributes: scale" if change == "attribute" else "overlaps with another"
    with pytest.raises(ValueError, match=reason):
        torch_ebpc.pack(content)


class Point(NamedTuple):
    x: torch.Tensor
    name: str


def test_containers_that_can_be_copied_faithfully_are_looked_into():
    x = torch.zeros(1000)
    content = {
        "named": Point(x, "a"),
        "deque": collections.deque([x, 1], maxlen=5),
        "user": collections.UserDict(a=x),
        "ordered": collections.OrderedDict(a=x),
        "default": collections.defaultdict(list, a=x),
        "max": torch.max(torch.zeros(500, 2), 1),
    }
    packed = torch_ebpc.pack(content)
    assert packed["named"].x.dtype == packed["max"].values.dtype == torch.uint8
    found = torch_ebpc.unpack(packed)
    for name, value in content.items():
        assert type(found[name]) is type(value)
        for each, other in zip(
            torch_ebpc.nested._parts_of(found[name]),
            torch_ebpc.nested._parts_of(value),
            strict=True,
        ):
            assert each[0] == other[0]
            assert each[1] is other[1] or torch.equal(each[1], other[1])
    assert found["deque"].maxlen == 5
    assert found["default"].default_factory is list
    assert found["named"].x is found["user"]["a"]


@dataclasses.dataclass
class State:
    step: int
    moments: list


class Named(Point):
    """With room for attributes."""


def test_other_objects_with_tensors_stay_and_are_named():
    x = torch.zeros(1000)
    named = Named(x, "a")
    named.more = 1
    content = {
        "opt": [State(1, [x])],
        "view": types.MappingProxyType({"a": x}),
        "named": named,
        "set": {x},
        "none": State(1, []),
        "size": x.shape,
    }
    packed = stays(
        content,
        "content['opt'][0], of class State",
        "content['view'], of class mappingproxy",
        "content['named'], of class Named",
        "content['set'], of class set",
    )
    assert packed["opt"][0] is content["opt"][0]
    assert packed["named"] is named
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch_ebpc.pack({name: content[name] for name in ("none", "size")})


def test_tensors_of_any_kind_stay_and_have_their_bytes_told():
    eye = torch.eye(100)
    content = {
        "coo": eye.to_sparse(),  # 100 values, and indices of 2 dimensions
        "csr": eye.to_sparse_csr(),
        "csc": eye.to_sparse_csc(),
        "quantized": torch.quantize_per_tensor(eye, 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([eye, eye[:5]]),
        "jagged": torch.nested.nested_tensor([eye, eye[:5]], layout=torch.jagged),
        "meta": torch.zeros(100, device="meta"),
        "subclass": eye.as_subclass(type("Subclass", (torch.Tensor,), {})),
        "conj": torch.zeros(100, dtype=torch.complex64).conj(),
        "negative": torch.zeros(100, dtype=torch.complex64).conj().imag,
    }
    done = []
    packed = torch_ebpc.pack(content, progress=done.append)
    assert all(packed[name] is value for name, value in content.items())
    sizes = dict(zip(content, done, strict=True))
    assert sizes["coo"] == 100 * 4 + 200 * 8
    assert sizes["csr"] == sizes["csc"] == 100 * 4 + 100 * 8 + 101 * 8
    assert sizes["nested"] == sizes["jagged"] == 105 * 100 * 4
    assert sizes["quantized"] == 10000
