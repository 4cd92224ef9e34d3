"""Keeps what compiled code saves for the backward pass compressed: a partitioner of torch.compile.

Hooks of autograd do not serve there: PyTorch calls all of a compiled graph's before its backward
pass begins, so that everything is decompressed at once. A partitioner sees the graphs of both
passes, and puts each decompression right before its first use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.custom_graph_pass import CustomPartitionerFn, get_hash_for_files

from torch_ebpc import ops
from torch_ebpc._saved_memory import as_saved, estimated_bytes, range_of, suited, words_of

_CODE: dict[str, Any] = {"block_size": 16}
_MIN_RATIO = 1.05  # of what is compressed
_aten = torch.ops.aten
_OTHER_KERNELS = (
    *(_aten.convolution_backward.default, _aten.mm.default, _aten.addmm.default),
    *(_aten.bmm.default, _aten.baddbmm.default),
)


class CompressedPartitioner(CustomPartitionerFn):
    """Partitions as torch.compile does by default, and compresses what goes from one part to the
    other, lossless. Gradients are the same to the last bit, with Inductor as long as its option
    ``layout_optimization`` is off in both: it changes layouts where nothing is compressed.

    For Inductor's option ``custom_partitioner_fn``, or as ``partition_fn`` of
    ``torch._dynamo.backends.common.aot_autograd``. Left as they are: inputs and outputs of what is
    compiled, which the program may hold anyway; tensors of fewer than ``min_bytes``; those whose
    shape the compiler does not know (``dynamic=True``); those that are not on the CPU.

    Args:
        min_bytes: smaller tensors are left as they are.

    Raises:
        TypeError, ValueError: ``min_bytes`` is not an int, or negative.

    Example:
        >>> from torch_ebpc.partitioner import CompressedPartitioner
        >>> options = {
        ...     "custom_partitioner_fn": CompressedPartitioner(),
        ...     "layout_optimization": False,
        ... }
        >>> model = torch.compile(torch.nn.Linear(3, 3), options=options)
    """

    def __init__(self, *, min_bytes: int = 16384) -> None:
        if not isinstance(min_bytes, int):
            raise TypeError(f"min_bytes must be an int, got {type(min_bytes).__name__}")
        if min_bytes < 0:
            raise ValueError(f"min_bytes must not be negative, got {min_bytes}")
        self._min_bytes = min_bytes

    def __call__(
        self, gm: fx.GraphModule, joint_inputs: Sequence[object], **options: Any
    ) -> tuple[fx.GraphModule, fx.GraphModule]:
        forward, backward = min_cut_rematerialization_partition(gm, joint_inputs, **options)
        results = options["num_fwd_outputs"]
        end = forward.graph.output_node()
        outputs: list[Any] = list(end.args[0])  # type: ignore[arg-type]
        inputs = {node.name: node for node in backward.graph.find_nodes(op="placeholder")}
        for index, saved in enumerate(outputs[results:], results):
            if isinstance(saved, fx.Node) and saved not in outputs[:results] and self._worth(saved):
                outputs[index] = _store(saved)
                _restore(inputs[saved.name], outputs[index], saved.meta["val"])
        end.args = (tuple(outputs),)
        for module in (forward, backward):
            module.graph.lint()
            module.recompile()
        return forward, backward

    def _worth(self, saved: fx.Node) -> bool:
        x = saved.meta["val"]
        if saved.op == "placeholder" or not isinstance(x, Tensor):
            return False
        if x.device.type != "cpu" or x.layout is not torch.strided or x.is_quantized:
            return False
        if x.is_conj() or x.is_neg():
            return False
        if not all(isinstance(each, int) for each in (*x.shape, *x.stride(), x.storage_offset())):
            return False
        elements = range_of(x)
        dense = elements is not None and elements.elements == x.numel()
        return dense and x.nbytes >= max(1, self._min_bytes)

    def uuid(self) -> Any:
        return get_hash_for_files((__file__,), str(self._min_bytes))


def _store(saved: fx.Node) -> fx.Node:
    x = saved.meta["val"]
    with saved.graph.inserting_after(saved):
        node = saved.graph.call_function(
            torch.ops.torch_ebpc.store.default, (saved, list(x.stride()))
        )
    node.meta["val"] = x.new_empty(1, dtype=torch.uint8)
    return node


def _restore(placeholder: fx.Node, stored: fx.Node, x: Tensor) -> None:
    """Right before its first use."""
    users = set(placeholder.users)
    first = next(node for node in placeholder.graph.nodes if node in users)
    # Inductor computes what another kernel than its own takes only right before that kernel, and so
    # after the decompression, for which the maps that it comes from would have to stay.
    others: list[fx.Node] = []
    if first.target in _OTHER_KERNELS:
        others = [
            node
            for node in first.all_input_nodes
            if node.op != "placeholder" and isinstance(node.meta.get("val"), Tensor)
        ]
    with placeholder.graph.inserting_before(first):
        node = placeholder.graph.call_function(
            torch.ops.torch_ebpc.restore.default,
            (placeholder, list(x.shape), list(x.stride()), x.dtype, others),
        )
    placeholder.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
    node.meta = placeholder.meta
    placeholder.meta = dict(stored.meta)


# A compiler has to know the shape of all that is saved, and the size of a container is known only
# when it runs. So what is saved is a tensor of one byte, whose storage has the container in it.


@torch.library.custom_op("torch_ebpc::store", mutates_args=(), device_types="cpu")
def store(x: Tensor, stride: list[int]) -> Tensor:
    """uint8 [1], in the storage of a container of ``x``; or of its bytes, where that would be
    hardly smaller. ``stride`` is what it is expected to have; compilers may take another."""
    if list(x.stride()) != stride:
        x = torch.empty_strided(x.shape, stride, dtype=x.dtype).copy_(x)
    elements = range_of(x)
    assert elements is not None
    as_it_is = words_of(x, elements)
    words = suited(as_it_is, _CODE)
    stored = None
    if estimated_bytes(words, _CODE) * _MIN_RATIO <= x.nbytes:
        stored = ops.compress(words, **_CODE)
    if stored is None or stored.nbytes >= x.nbytes:
        stored = as_it_is.view(torch.uint8).clone()
    return _in_storage_of(stored, 1)


@torch.library.custom_op("torch_ebpc::restore", mutates_args=(), device_types="cpu")
def restore(
    stored: Tensor, shape: list[int], stride: list[int], dtype: torch.dtype, after: list[Tensor]
) -> Tensor:
    """The tensor that ``store`` was given, of that shape, stride and dtype. Compilers see that it
    comes ``after`` others; it does not read them."""
    content = _in_storage_of(stored, stored.untyped_storage().nbytes())
    tensor_bytes = math.prod(shape) * dtype.itemsize
    as_it_was = content.nbytes == tensor_bytes
    words = content.clone() if as_it_was else ops.decompress(content)
    return as_saved(words, dtype, tensor_bytes).as_strided(shape, stride)


def _in_storage_of(x: Tensor, size: int) -> Tensor:
    return x.new_empty(0).set_(x.untyped_storage(), 0, (size,), (1,))


@store.register_fake
def _fake_store(x: Tensor, stride: list[int]) -> Tensor:
    return x.new_empty(1, dtype=torch.uint8)


@restore.register_fake
def _fake_restore(
    stored: Tensor, shape: list[int], stride: list[int], dtype: torch.dtype, after: list[Tensor]
) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype, device=stored.device)
