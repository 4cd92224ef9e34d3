"""The claims of the papers' abstracts, next to every reading of our figures, with verdicts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from evaluation.common.tables import Cell, Section, Table
from evaluation.paper import published
from evaluation.paper.counts import Readings
from evaluation.paper.paper_study import Study
from evaluation.paper.plan import preset_codes
from evaluation.paper.published import Claim
from evaluation.paper.variants import BASELINES, Variant
from torch_ebpc.report import METHOD_TITLES

REFERENCE_WIDTHS = (16, 32)
MET = {True: " ✓", False: ""}
SMALLEST_WORD_BITS = 8  # of a reading that counts


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim and all readings of ours.

    Attributes:
        readings: a row for each way to read "the ratio" off our measurement, in the order of the
            report: the rule in words, the average (of :data:`DEFINITIONS`), the bits of the words
            that were coded, the ratio against words of those, the best baseline under the same
            words and average with its ratio, and the gain over it in per cent.
        widths: that the claimed ratio may be against; 0 stands for the type's own.
    """

    claim: Claim
    readings: pd.DataFrame
    widths: tuple[int, ...]

    def ratios(self, width: int) -> pd.Series:
        """Empty where that reference is no other one than the type's own width, or smaller."""
        bits = self.readings["word_bits"]
        ratios = self.readings["ratio"] * (width or bits) / bits
        return ratios.where(bits < (width or np.inf))

    def ratios_met(self, width: int) -> pd.Series:
        """As well as the claim, at the digits in which the claim is given."""
        return self.ratios(width).round(1) >= self.claim.ratio

    @property
    def gains_met(self) -> pd.Series:
        return self.readings["gain_percent"].round() >= self.claim.gain_percent

    @property
    def means(self) -> pd.Series:
        """Which readings count: averages (not the best layer) of the types that the papers measure.
        Words of 4 bits, most of which quantization makes zero, are shown only."""
        wide = self.readings["word_bits"] >= SMALLEST_WORD_BITS
        return wide & (self.readings["average"] != "best layer")

    def in_a_line(self) -> str:
        """What is claimed, whether it is met, and the figure that decides."""

        def how(met: pd.Series, best: Any) -> str:
            by_any = met[self.means].any()
            return "met" if met[best] else "met by other averages alone" if by_any else "NOT met"

        claim, parts = self.claim, []
        sums = self.means & (self.readings["average"] == "ratio of sums")
        for width in self.widths:
            ratios = self.ratios(width)[sums].dropna()
            if not ratios.empty:
                best = ratios.idxmax()
                words = f"{width}-bit words" if width else "words of the type's own width"
                found = f"{how(self.ratios_met(width), best)} against {words}"
                parts.append(f"{found} (ratio of sums {ratios[best]:.2f})")
        gains = self.readings["gain_percent"][sums]
        return (
            f"{claim.source}: a ratio of {claim.ratio:g} is {', '.join(parts)};"
            f" {claim.gain_percent} % over the best of"
            f" {', '.join(METHOD_TITLES[name] for name in claim.over)} is"
            f" {how(self.gains_met, gains.idxmax())} (ratio of sums {gains.max():+.0f} %)."
        )

    def table(self) -> Table:
        ratios = [(self.ratios(width), self.ratios_met(width)) for width in self.widths]
        rows = []
        for i, each in self.readings.iterrows():
            row: list[Cell] = [each["rule"], each["average"]]
            for found, met in ratios:
                row.append(None if pd.isna(found[i]) else f"{found[i]:.2f}{MET[met[i]]}")
            gain = f"{each['gain_percent']:+.0f} %{MET[self.gains_met[i]]}"
            rows.append([*row, gain, METHOD_TITLES[each["best"]], each["best_ratio"]])
        widths = [f"against {width} bit" if width else "own width" for width in self.widths]
        caption = f"All readings for {self.claim.name}; ✓: as high as claimed, or higher."
        return Table(caption, ["rule", "average", *widths, "gain", "over", "its ratio"], rows)


def verdicts(study: Study) -> list[Verdict]:
    """Each claim with all readings: every preset at 8 bit, and all other types by the rule."""
    main, eight_bit, others = study.main, [], []
    for label, each in preset_codes().items():
        # The hardware's words and code are the notebook's once more.
        if each.type == "fixed8" and not label.startswith("hardware "):
            rule = label.replace(" fixed8 ebpc N", ", fixed8, N").replace(" base", ", base")
            eight_bit += _readings_of(main.readings("presets"), rule, each)
    for type in main.plan.types:
        each = main.plan.by_type(type)
        if each in main.counts.bits and type != "fixed8":
            others += _readings_of(main.readings("types"), f"{study.rule.name}, {type}", each)
    aicas, jetcas = published.CLAIMS
    return [
        Verdict(aicas, pd.DataFrame(eight_bit + others), (0, *REFERENCE_WIDTHS)),
        Verdict(jetcas, pd.DataFrame(eight_bit), (0,)),
    ]


def _readings_of(readings: Readings, rule: str, each: Variant) -> list[dict[str, Any]]:
    """All averages of an EBPC variant, each with the best of the baselines by the same average."""
    mine = readings.averages(each)
    others = pd.DataFrame({name: readings.averages(each.by_method(name)) for name in BASELINES})
    return [
        {
            "rule": rule,
            "average": average,
            "word_bits": each.bits,
            "ratio": ratio,
            "best": others.loc[average].idxmax(),
            "best_ratio": others.loc[average].max(),
            "gain_percent": 100 * (ratio / others.loc[average].max() - 1),
        }
        for average, ratio in mine.items()
    ]


def claims_section(study: Study) -> Section:
    averages = published.RELEASED_AVERAGES.items()
    released = ", ".join(f"{ratio:g} ({name})" for name, ratio in averages)
    section = Section("The abstracts' claims")
    section.parts.append(
        f"The released data of ResNet-34 itself averages to {released} at 8 bit, so no average over"
        " its ReLU maps gives 4.4 against 8-bit words; twice these figures, 8-bit words against"
        " 16-bit words, come near it."
    )
    for verdict in verdicts(study):
        section.parts.append(f"Claim: “{verdict.claim.text}” ({verdict.claim.source}).")
        section.parts += [f"- {verdict.in_a_line()}", verdict.table()]
    return section
