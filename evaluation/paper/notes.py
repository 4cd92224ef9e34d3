"""Where our figures deviate from the published ones, and the likely causes; provenance."""

from __future__ import annotations

from typing import Any

from evaluation.common.tables import Section, Table
from evaluation.paper import published
from evaluation.paper.paper_study import Study
from evaluation.paper.variants import METHOD_TITLES

NAMED_FROM = 5.0  # per cent of deviation, from which a figure is named (the plot is read to 2)

WEIGHTS = "other weights and images"
CAUSES: dict[tuple[str, str], str] = {
    ("bpc", "fixed8"): "the authors' script lets differences of 8-bit words wrap to 8 planes; the"
    " papers, and we, code 9",
    ("ebpc", "float16"): "the authors' script takes differences in floating point; ours are of the"
    " bit patterns",
    ("bpc", "float16"): "the authors' script takes differences in floating point; ours are of the"
    " bit patterns",
    ("zero_rle", "any"): "the authors' script spends a bit too many on a zero run of 16",
}


def deviations_section(study: Study) -> Section:
    section = Section("Deviations and their likely causes")
    main = study.main
    if main.network.name != "resnet34":
        section.parts.append(f"The published tables are of ResNet-34, not of {main.network.name}.")
        return section
    readings, rows = main.readings("types"), []
    for method, by_type in published.BY_TYPE.items():
        for type, theirs in by_type.items():
            variant = main.plan.by_type(type, method)
            if variant not in main.counts.bits:
                continue
            ours = readings.ratio(variant)
            deviation = 100 * (ours / theirs - 1)
            causes = [CAUSES.get((method, type)) or CAUSES.get((method, "any")), WEIGHTS]
            named = "; ".join(filter(None, causes)) if abs(deviation) >= NAMED_FROM else ""
            rows.append([METHOD_TITLES[method], type, ours, theirs, f"{deviation:+.1f} %", named])
    section.parts.append(
        Table(
            f"ResNet-34, ratio of sums, beside the {published.PLOT}. Causes are named from"
            f" {NAMED_FROM:g} % on.",
            ["method", "type", "ours", "published", "deviation", "likely cause"],
            rows,
        )
    )
    section.parts += [
        f"- Weights: {main.network.weights}. Every ratio depends on them and on the images"
        f" ({study.provenance['images']}), above all the share of zeros.",
        "- Mode: the released notebook runs the network in training mode, on batch statistics; ours"
        + (
            " does too."
            if main.network.batch_statistics
            else " is in evaluation mode"
            + (
                ", as the rule says."
                if study.rule.network_mode == "evaluation"
                else " (these weights have batch normalization folded in, which cannot train)."
            )
        ),
        "- Scale: the notebook's maximum is over its one batch. Ours is over"
        f" {'all images' if study.rule.scale == 'calibrated' else 'each batch'}"
        f" ({study.rule.batch_size} a batch). The more images share a scale, the more one extreme"
        " value decides: see the ablation that gives each image its own.",
    ]
    if len(study.gradients) == 2:
        section.parts.append(
            "- Gradients: which gradient the plot shows is not stated. Ours of the inputs have"
            " zeros where the activation blocks, those of the outputs hardly any; the published"
            " ZVC ratios are of sparse maps. The fixed-point scale follows the one largest"
            " gradient of a call over all images; a scale over other images, or a network that"
            " is less sure of itself, moves many small gradients to zero or away from it. In"
            " float16 it is the size of the loss that decides how many underflow."
        )
    return section


def provenance_section(study: Study, run: dict[str, Any]) -> Section:
    """Args:
    run: what may differ between runs of equal figures: machine, date, time, memory.
    """
    rows = [(key, _text(value)) for key, value in [*study.provenance.items(), *run.items()]]
    return Section("Provenance", [Table("", ["what", "value"], rows)])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value))
    return str(value)
