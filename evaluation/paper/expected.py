"""Stored ratios that guard against silent change, for known weights and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluation.common.files import write_json
from evaluation.paper.paper_study import Study

EXPECTED = Path(__file__).with_name("expected.json")
# Counts are exact for equal maps; maps differ between CPUs and builds of PyTorch in the last bits,
# which now and then moves a value over a quantization step.
TOLERANCE = 0.002
_IDENTITY = ("weights_sha256", "images_sha256", "extent", "rule", "taps")


def check(study: Study, path: Path = EXPECTED) -> list[str] | None:
    """The deviations from the stored ratios, in words; None where nothing is stored for these
    weights, images and settings."""
    entry = next((e for e in _entries(path) if e["identity"] == _identity(study)), None)
    if entry is None:
        return None
    found, deviations = ratios(study), []
    for name, ratio in entry["ratios"].items():
        if name not in found:
            deviations.append(f"{name}: {ratio} is expected, but was not measured")
        elif not abs(found[name] / ratio - 1) <= entry["tolerance"]:
            deviations.append(
                f"{name}: {found[name]:.5f} instead of {ratio:.5f}"
                f" ({100 * (found[name] / ratio - 1):+.2f} %)"
            )
    return deviations


def store(study: Study, path: Path = EXPECTED) -> None:
    """Makes this study's ratios the expected ones."""
    identity = _identity(study)
    entries = [entry for entry in _entries(path) if entry["identity"] != identity]
    rounded = {name: round(ratio, 5) for name, ratio in ratios(study).items()}
    entries.append({"identity": identity, "tolerance": TOLERANCE, "ratios": rounded})
    write_json(entries, path)


def ratios(study: Study) -> dict[str, float]:
    """The ratio of sums of everything that was measured, by name."""
    result = {}
    for each in study.all:
        for name in each.plan.groups:
            readings = each.readings(name)
            group = f"{each.network.name}, {each.what}: {name}"
            for label, variant in each.group(name).items():
                result[f"{group}: {label}"] = readings.ratio(variant)
    return result


def _identity(study: Study) -> dict[str, Any]:
    # Through JSON, as it will be compared with what was read from there.
    return {key: json.loads(json.dumps(study.provenance[key])) for key in _IDENTITY} | {
        "others": sorted({f"{m.network.name} {m.network.weights_sha256}" for m in study.others})
    }


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text())
    return entries
