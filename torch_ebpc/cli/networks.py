"""The networks that are measured: TorchVision's by name, and files of other programs."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import warnings
import zipfile
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn


def import_torchvision() -> ModuleType:
    """TorchVision, also where its compiled operators do not load.

    TorchVision's wheel is built for one build of PyTorch. Beside another (a CPU build) its library
    does not load, and importing it then fails because fake kernels are registered for operators
    that do not exist. Models, weights and transforms need none of them, so their schemas are
    enough.
    """
    try:
        import torchvision
    except ModuleNotFoundError as error:
        # Version 0.28 is for PyTorch 2.13. Without --no-deps, pip may replace PyTorch.
        installed = torch.__version__.split("+")[0]
        version = f"0.{int(installed.split('.')[1]) + 15}"
        raise ImportError(
            "networks and preparation of images by name need TorchVision, which is not installed:"
            f" pip install --no-deps 'torchvision=={version}.*' (leaves PyTorch {installed})"
        ) from error
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        # The first attempt has left the module half imported.
        import sys

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        torch.library.define(
            "torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        torch.library.define(
            "torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        import torchvision
    module: ModuleType = torchvision
    return module


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network ready to be measured, and what a report has to say about it."""

    name: str
    model: nn.Module
    transform: Callable[[Any], torch.Tensor]  # PIL image to float32 [3, height, width]
    weights: str  # where they come from, in words
    weights_sha256: str  # of their file; empty where there is none
    trained: bool
    batch_statistics: bool = False  # whether it normalizes by those of each batch
    is_graph: bool = False  # TorchScript or exported, below Python
    # The least and the largest size of each axis of its input; empty where it takes any.
    input_sizes: tuple[tuple[int, float], ...] = ()

    @property
    def warning(self) -> str:
        """What every table and plot has to say in its title; empty if there is nothing."""
        return "" if self.trained else "UNTRAINED NETWORK: its ratios say little about trained ones"


def load_torchvision(
    name: str, weights_file: Path | None = None, *, untrained: bool = False
) -> LoadedModel:
    """A TorchVision classification network by name, in evaluation mode.

    Its weights are those of ``weights_file``, else TorchVision's own (from its cache, or
    downloaded); or it is ``untrained``, and normalizes by batch statistics.

    Raises:
        ValueError: TorchVision has no such network.
        OSError, RuntimeError: ``weights_file`` cannot be read or does not fit the network, or there
            are neither cached weights nor a way to download them.
    """
    models = import_torchvision().models
    official = _official_weights(name)
    transform = official.transforms()
    if untrained:
        torch.manual_seed(0)
        model = models.get_model(name)
        network = LoadedModel(name, model.eval(), transform, "none (seed 0)", "", trained=False)
        return with_batch_statistics(network)
    model = models.get_model(name)
    if weights_file is not None:
        try:
            model.load_state_dict(read_state(weights_file))
        except OSError:
            raise
        except Exception as error:  # pickle's, zip's and PyTorch's own, of many lines
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{weights_file}: expected a state dict of {name}, found: {reason}"
            ) from error
        return loaded(name, model.eval(), transform, f"file {weights_file.name}", weights_file)
    state = official.get_state_dict(progress=False, check_hash=True)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(official.url).name
    model.load_state_dict(state)
    return loaded(name, model.eval(), transform, f"TorchVision {official}", cached)


def no_images(image: Any) -> torch.Tensor:
    """The transform of a network that is called with other things than images."""
    raise TypeError("this network was loaded for other inputs than images")


def load_file(path: Path, transform: Callable[[Any], torch.Tensor] = no_images) -> LoadedModel:
    """A network from a file of ``torch.jit.save`` or ``torch.export.save``. Such a file is a
    program: load only what comes from where programs may come from.

    Raises:
        ValueError: it is a file of another kind.
        OSError, RuntimeError: it cannot be read.
    """
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    inner = {name.partition("/")[2] for name in names}
    sizes: tuple[tuple[int, float], ...] = ()
    with warnings.catch_warnings():
        # PyTorch's advice to whoever wrote the file.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        if any(name.startswith("code/") for name in inner):
            kind, model = "TorchScript", torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        elif "archive_format" in inner:
            # The operators of quantized programs.
            importlib.import_module("torch.ao.quantization.fx._decomposed")
            program = torch.export.load(path)
            kind, model = "exported program", program.module()
            sizes = () if transform is no_images else _input_sizes(program)
        else:
            raise ValueError(
                "expected a file of torch.jit.save or torch.export.save. With a state dict, give"
                " the network's name as MODEL and the file as --weights"
            )
    network = loaded(path.name, model, transform, f"{kind} {path.name}", path)
    return dataclasses.replace(network, is_graph=True, input_sizes=sizes)


def _input_sizes(program: torch.export.ExportedProgram) -> tuple[tuple[int, float], ...]:
    """As :attr:`LoadedModel.input_sizes`.

    Raises:
        ValueError: it takes something else than one tensor.
    """
    inputs = program.graph_signature.user_inputs
    by_name = {node.name: node.meta.get("val") for node in program.graph.nodes}
    x = by_name.get(str(inputs[0])) if len(inputs) == 1 else None
    if not isinstance(x, torch.Tensor):
        raise ValueError(
            f"expected a program that takes one tensor, found inputs {inputs}: --inputs gives them"
        )
    sizes: list[tuple[int, float]] = []
    for size in x.shape:
        if isinstance(size, int):
            sizes.append((size, size))
        else:
            limits = program.range_constraints.get(size.node.expr)
            sizes.append((max(1, int(limits.lower)), float(limits.upper)) if limits else (1, inf))
    return tuple(sizes)


def prepared_as(name: str) -> Callable[[Any], torch.Tensor]:
    """What makes an input of an image, as for a TorchVision network.

    Raises:
        ValueError: TorchVision has no such network.
    """
    transform: Callable[[Any], torch.Tensor] = _official_weights(name).transforms()
    return transform


def _official_weights(name: str) -> Any:
    """TorchVision's own weights of a network, those of the papers where there are several."""
    models = import_torchvision().models
    if name not in models.list_models(module=models):
        raise ValueError(
            f"model must be a TorchVision classification network, got {name!r};"
            " see torchvision.models.list_models()"
        )
    enum = models.get_model_weights(name)
    return getattr(enum, "IMAGENET1K_V1", enum.DEFAULT)


def with_batch_statistics(network: LoadedModel) -> LoadedModel:
    """Makes the network normalize by the statistics of each batch, as in training, and otherwise
    work as in evaluation. Returned unchanged where that cannot be: it normalizes nothing, or its
    batch normalization was folded into the convolutions and its statistics are placeholders."""
    layers = [m for m in network.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    folded = network.trained and all(
        m.running_mean is not None
        and m.running_var is not None
        and bool((m.running_mean == 0).all() and (m.running_var == 1).all())
        for m in layers
    )
    if not layers or folded:
        return network
    for module in layers:
        module.train()
    return dataclasses.replace(network, batch_statistics=True)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a file, in float32."""
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {key: x.float() if x.is_floating_point() else x for key, x in state.items()}


def loaded(
    name: str, model: nn.Module, transform: Callable[[Any], torch.Tensor], origin: str, file: Path
) -> LoadedModel:
    """A network with the weights of a file."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return LoadedModel(name, model, transform, origin, digest, trained=True)
