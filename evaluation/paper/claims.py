"""The claims of the papers' abstracts, next to every reading of our figures, with verdicts."""

from __future__ import annotations

import dataclasses

from evaluation.common.tables import Cell, Section, Table
from evaluation.paper import published
from evaluation.paper.counts import DEFINITIONS, Readings
from evaluation.paper.paper_study import Study
from evaluation.paper.plan import preset_codes
from evaluation.paper.published import Claim
from evaluation.paper.variants import BASELINES, Variant
from torch_ebpc.report import METHOD_TITLES

REFERENCE_WIDTHS = (16, 32)
SMALLEST_WORD_BITS = 8  # of a reading that counts


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read "the ratio" off our measurement.

    Attributes:
        rule: what was measured, in words.
        average: a name of :data:`DEFINITIONS`.
        word_bits: of the words that were coded.
        ratio: against words of ``word_bits``.
        best, best_ratio: the best baseline under the same words and average.
    """

    rule: str
    average: str
    word_bits: int
    ratio: float
    best: str
    best_ratio: float

    @property
    def gain_percent(self) -> float:
        """Over the best baseline; the same against words of any width."""
        return 100 * (self.ratio / self.best_ratio - 1)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim and all readings of ours.

    Attributes:
        readings: in the order in which the report shows them.
        widths: that the claimed ratio may be against; 0 stands for the type's own.
    """

    claim: Claim
    readings: list[Reading]
    widths: tuple[int, ...]

    def ratio(self, reading: Reading, width: int) -> float | None:
        """None where that reference is no other one than the type's own width, or smaller."""
        if 0 < width <= reading.word_bits:
            return None
        return reading.ratio * (width or reading.word_bits) / reading.word_bits

    def ratio_met(self, reading: Reading, width: int) -> bool:
        """As well as the claim, at the digits in which the claim is given."""
        return round(self.ratio(reading, width) or 0, 1) >= self.claim.ratio

    def gain_met(self, reading: Reading) -> bool:
        return round(reading.gain_percent) >= self.claim.gain_percent

    @property
    def means(self) -> list[Reading]:
        """The readings that count: averages (not the best layer) of the types that the papers
        measure. Words of 4 bits, most of which quantization makes zero, are shown only."""
        return [
            each
            for each in self.readings
            if each.average != "best layer" and each.word_bits >= SMALLEST_WORD_BITS
        ]

    def in_a_line(self) -> str:
        """What is claimed, whether it is met, and the figure that decides."""

        def met(by_sums: bool, by_any: bool) -> str:
            return "met" if by_sums else "met by other averages alone" if by_any else "NOT met"

        claim, parts = self.claim, []
        sums = [each for each in self.means if each.average == "ratio of sums"]
        for width in self.widths:
            ratios = {ratio: each for each in sums if (ratio := self.ratio(each, width))}
            if ratios:
                best = max(ratios)
                by_any = any(self.ratio_met(each, width) for each in self.means)
                words = f"{width}-bit words" if width else "words of the type's own width"
                how = met(self.ratio_met(ratios[best], width), by_any)
                parts.append(f"{how} against {words} (ratio of sums {best:.2f})")
        gain = max(sums, key=lambda each: each.gain_percent)
        how = met(self.gain_met(gain), any(map(self.gain_met, self.means)))
        return (
            f"{claim.source}: a ratio of {claim.ratio:g} is {', '.join(parts)};"
            f" {claim.gain_percent} % over the best of"
            f" {', '.join(METHOD_TITLES[name] for name in claim.over)} is {how}"
            f" (ratio of sums {gain.gain_percent:+.0f} %)."
        )

    def table(self) -> Table:
        rows = []
        for each in self.readings:
            row: list[Cell] = [each.rule, each.average]
            for width in self.widths:
                ratio, mark = self.ratio(each, width), " ✓" * self.ratio_met(each, width)
                row.append(None if ratio is None else f"{ratio:.2f}{mark}")
            gain = f"{each.gain_percent:+.0f} %{' ✓' * self.gain_met(each)}"
            rows.append([*row, gain, METHOD_TITLES[each.best], each.best_ratio])
        widths = [f"against {width} bit" if width else "own width" for width in self.widths]
        caption = f"All readings for {self.claim.name}; ✓: as high as claimed, or higher."
        return Table(caption, ["rule", "average", *widths, "gain", "over", "its ratio"], rows)


def verdicts(study: Study) -> list[Verdict]:
    """Each claim with all readings: every preset at 8 bit, and all other types by the rule."""
    main, readings = study.main, []
    for label, each in preset_codes().items():
        # The hardware's words and code are the notebook's once more.
        if each.type == "fixed8" and not label.startswith("hardware "):
            rule = label.replace(" fixed8 ebpc N", ", fixed8, N").replace(" base", ", base")
            readings += _readings_of(main.readings("presets"), rule, each)
    eight_bit = list(readings)
    for type in main.plan.types:
        each = main.plan.by_type(type)
        if each in main.counts.bits and type != "fixed8":
            readings += _readings_of(main.readings("types"), f"{study.rule.name}, {type}", each)
    aicas, jetcas = published.CLAIMS
    return [Verdict(aicas, readings, (0, *REFERENCE_WIDTHS)), Verdict(jetcas, eight_bit, (0,))]


def _readings_of(readings: Readings, rule: str, each: Variant) -> list[Reading]:
    """All averages of an EBPC variant, each with the best of the baselines by the same average."""
    mine = readings.averages(each)
    others = {name: readings.averages(each.by_method(name)) for name in BASELINES}
    found = []
    for average in DEFINITIONS:
        best = max(others, key=lambda name: others[name][average])
        ratio = others[best][average]
        found.append(Reading(rule, average, each.bits, mine[average], best, ratio))
    return found


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
