"""How the published figures were measured, as plain records; each names its source."""

from __future__ import annotations

import dataclasses
from typing import Literal

NetworkMode = Literal["evaluation", "batch statistics"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A rule from float maps to words, and from words to bits.

    None stands for what a source leaves open; :func:`complete` fills it in from ``notebook``.
    """

    name: str
    source: str
    images: str  # in the source's words
    notes: str
    network_mode: NetworkMode | None = None
    scale: Literal["batch", "calibrated"] | None = None
    batch_size: int | None = None  # images that share a scale under scale="batch"
    headroom: float | None = None  # share of full scale that a layer's maximum comes to
    rounding: Literal["nearest", "truncate"] | None = None
    signed: bool | None = None
    block_size: int = 8  # the headline's; all that the source names are in block_sizes
    block_sizes: tuple[int, ...] = (8,)
    max_zero_run: int = 16
    base: Literal["sent", "reused"] = "sent"
    order: Literal["nchw", "nhwc"] = "nchw"

    def complete(self) -> Preset:
        """With every field set that the source leaves open, by the notebook's rule."""
        left_open = {
            field.name: getattr(PRESETS["notebook"], field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is None
        }
        return dataclasses.replace(self, **left_open)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="notebook",
            source="the released script and notebook of AICAS 2019",
            images="a batch of 250 from the training folder",
            notes="The network runs in training mode there (batch statistics).",
            network_mode="batch statistics",
            scale="batch",
            batch_size=250,
            headroom=0.75,
            rounding="truncate",
            signed=True,
        ),
        Preset(
            name="paper",
            source="JETCAS 2019, text",
            images="250 of the ILSVRC12 validation set",
            notes="Rounding is not stated (here: to nearest); blocks of 16 and 8, and re-use of the"
            " base, are described, so all four are measured.",
            network_mode="evaluation",
            scale="calibrated",
            headroom=0.8,
            rounding="nearest",
            signed=True,
            block_size=16,
            block_sizes=(16, 8),
            base="reused",
        ),
        Preset(
            name="hardware",
            source="the released RTL",
            images="none",
            notes="The encoder gets words; scale and rounding are open (here: the notebook's).",
            signed=True,
        ),
    )
}
