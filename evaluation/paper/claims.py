"""The claims of the papers' abstracts, next to every reading of our figures, with verdicts; and how
far our calls follow the published ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from evaluation.paper.averages import Readings
from evaluation.paper.published import BY_TYPE, RELEASED_AVERAGES, Claim
from evaluation.paper.variants import METHOD_TITLES, Variant

# "An average compression ratio" may mean any of these; the best layer is no average, but shown.
AVERAGES = (
    "ratio of sums",
    "size-weighted mean of layer ratios",
    "plain mean of layer ratios",
    "best layer",
)
REFERENCE_WIDTHS = (16, 32)
SMALLEST_WORD_BITS = 8  # of a reading that counts


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read "the ratio" off our measurement.

    Attributes:
        rule: what was measured, in words.
        average: a name of :data:`AVERAGES`.
        word_bits: of the words that were coded.
        ratio: against words of ``word_bits``.
        best: the best baseline under the same words and average, and its ratio.
        zvc, zvc_sums: zero-value compression under the same words, by the same average and by the
            ratio of sums.
    """

    rule: str
    average: str
    word_bits: int
    ratio: float
    best: tuple[str, float]
    zvc: float
    zvc_sums: float

    @property
    def gain_percent(self) -> float:
        """Over the best baseline; the same against words of any width."""
        return 100 * (self.ratio / self.best[1] - 1)

    def against(self, width: int) -> float:
        return self.ratio * width / self.word_bits


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim and all readings of ours.

    Attributes:
        readings: in the order in which the report shows them.
        widths: that the claimed ratio may be against; 0 stands for the type's own.
    """

    claim: Claim
    readings: Sequence[Reading]
    widths: tuple[int, ...]

    def ratio(self, reading: Reading, width: int) -> float:
        return reading.against(width or reading.word_bits)

    def ratio_met(self, reading: Reading, width: int) -> bool:
        """As well as the claim, at the digits in which the claim is given."""
        return round(self.ratio(reading, width), 1) >= self.claim.ratio

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

    def applies(self, reading: Reading, width: int) -> bool:
        """Whether that is another reference than the type's own width, or just that one."""
        return width == 0 or width > reading.word_bits

    def reaching(self, width: int) -> list[Reading]:
        """The averages whose ratio is as high as claimed."""
        return [e for e in self.means if self.applies(e, width) and self.ratio_met(e, width)]

    def best_sums(self, width: int) -> Reading | None:
        """The highest ratio of sums; None where that width applies to no reading."""
        return max(
            (e for e in self.means if e.average == "ratio of sums" and self.applies(e, width)),
            key=lambda each: self.ratio(each, width),
            default=None,
        )

    def nearest(self, width: int) -> Reading | None:
        """The average whose ratio comes nearest to the claimed one."""
        return min(
            (each for each in self.means if self.applies(each, width)),
            key=lambda each: abs(self.ratio(each, width) - self.claim.ratio),
            default=None,
        )


def readings_of(
    readings: Readings, rule: str, variant: Variant, baselines: dict[str, Variant]
) -> list[Reading]:
    """All averages of an EBPC variant, each with the best of the baselines by the same average."""
    mine = readings.averages(variant)
    zvc = readings.averages(baselines["zvc"])
    return [
        Reading(
            rule,
            name,
            variant.words.bits,
            mine[name],
            readings.best(name, baselines),
            zvc[name],
            zvc["ratio of sums"],
        )
        for name in AVERAGES
    ]


def in_a_line(verdict: Verdict) -> str:
    """For a summary: what is claimed, whether it is met, and the figure that decides."""

    def met(by_sums: bool, by_any: bool) -> str:
        return "met" if by_sums else "met by other averages alone" if by_any else "NOT met"

    claim, parts = verdict.claim, []
    for width in verdict.widths:
        best = verdict.best_sums(width)
        if best is not None:
            how = met(verdict.ratio_met(best, width), bool(verdict.reaching(width)))
            words = f"{width}-bit words" if width else "words of the type's own width"
            parts.append(f"{how} against {words} (ratio of sums {verdict.ratio(best, width):.2f})")
    sums = max((e for e in verdict.means if e.average == "ratio of sums"), key=_gain)
    how = met(verdict.gain_met(sums), any(map(verdict.gain_met, verdict.means)))
    return (
        f"{claim.source}: a ratio of {claim.ratio:g} is {', '.join(parts)};"
        f" {claim.gain_percent} % over the best of"
        f" {', '.join(METHOD_TITLES[name] for name in claim.over)} is {how}"
        f" (ratio of sums {sums.gain_percent:+.0f} %)."
    )


def _gain(reading: Reading) -> float:
    return reading.gain_percent


def explain(verdict: Verdict) -> list[str]:
    """The verdict in sentences, all figures from the readings."""
    claim = verdict.claim
    lines = []
    for width in verdict.widths:
        against = f"{width}-bit words" if width else "words of the type's own width"
        nearest, reaching = verdict.nearest(width), verdict.reaching(width)
        sums = verdict.best_sums(width)
        if nearest is None or sums is None:
            continue
        applicable = sum(verdict.applies(each, width) for each in verdict.means)
        lines.append(
            f"{claim.ratio:g} against {against}: {'MET' if reaching else 'NOT MET'} by"
            f" {len(reaching)} of {applicable} averages (of words of {SMALLEST_WORD_BITS} bits and"
            " more). The nearest is"
            f" {verdict.ratio(nearest, width):.2f} ({nearest.rule}; {nearest.average})."
        )
        lines.append(
            f"Of the ratios of sums, the highest against {against} is"
            f" {verdict.ratio(sums, width):.2f} ({sums.rule}):"
            f" {'MET' if verdict.ratio_met(sums, width) else 'NOT MET'}."
        )
    gain = max(verdict.means, key=lambda each: each.gain_percent)
    lines.append(
        f"+{claim.gain_percent} % over the best of"
        f" {', '.join(METHOD_TITLES[name] for name in claim.over)}, by the same average:"
        f" {'MET' if verdict.gain_met(gain) else 'NOT MET'}. The largest gain is"
        f" {gain.gain_percent:+.0f} % ({gain.rule}; {gain.average}; over"
        f" {METHOD_TITLES[gain.best[0]]} at {gain.best[1]:.2f})."
    )
    sums = max(
        (each for each in verdict.means if each.average == "ratio of sums"),
        key=lambda each: each.gain_percent,
    )
    lines.append(
        f"By the ratio of sums the largest gain is {sums.gain_percent:+.0f} % ({sums.rule}; over"
        f" {METHOD_TITLES[sums.best[0]]} at {sums.best[1]:.2f}):"
        f" {'MET' if verdict.gain_met(sums) else 'NOT MET'}."
    )
    over_zvc = max(verdict.means, key=lambda each: each.ratio / each.zvc)
    lines.append(
        f"Over ZVC alone, by the same average, it is at most"
        f" {100 * (over_zvc.ratio / over_zvc.zvc - 1):+.0f} % ({over_zvc.rule};"
        f" {over_zvc.average})."
    )
    both = [
        (reading, width)
        for width in verdict.widths
        for reading in verdict.reaching(width)
        if verdict.gain_met(reading)
    ]
    if both:
        reading, width = both[0]
        lines.append(
            f"{len(both)} readings meet ratio and gain at once, for example {reading.rule},"
            f" {reading.average}, against {width or reading.word_bits}-bit words:"
            f" {verdict.ratio(reading, width):.2f} and {reading.gain_percent:+.0f} %."
        )
    else:
        lines.append("No reading meets the ratio and the gain at once.")
    return lines


def mixed_gain(readings: Sequence[Reading]) -> str:
    """The comparison of unlike averages that gives 60 % on the released data."""
    name = "size-weighted mean of layer ratios"
    ebpc, zvc = RELEASED_AVERAGES[name], BY_TYPE["zvc"]["fixed8"]
    best = max(
        (each for each in readings if each.average == name and each.word_bits == 8),
        key=lambda each: each.ratio / each.zvc_sums,
    )
    return (
        f"Unlike averages: the released data's {name} of EBPC over ZVC's ratio of sums is"
        f" {ebpc:.2f} / {zvc:.2f}, {100 * (ebpc / zvc - 1):+.0f} %; ours is"
        f" {best.ratio:.2f} / {best.zvc_sums:.2f},"
        f" {100 * (best.ratio / best.zvc_sums - 1):+.0f} % ({best.rule})."
        " It compares no total with any other, but may be where the figure is from."
    )


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far our calls follow the published medians.

    Attributes:
        spearman, kendall: rank correlations, each with its p-value.
        teeth, published_teeth: residual blocks whose map after the first convolution compresses
            better than the one after the addition, of ``blocks``.
    """

    spearman: tuple[float, float]
    kendall: tuple[float, float]
    teeth: int
    published_teeth: int
    blocks: int


def agreement(medians: Sequence[float], published: Sequence[float]) -> Agreement:
    """Call 1 is the stem; each residual block has two calls, as in a ResNet of basic blocks.

    Raises:
        ValueError: the number of calls is another one.
    """
    if len(medians) != len(published):
        raise ValueError(f"{len(medians)} calls cannot be compared with {len(published)}")
    spearman = stats.spearmanr(medians, published)
    kendall = stats.kendalltau(medians, published)

    def teeth(ratios: Sequence[float]) -> int:
        return int((np.array(ratios[1::2]) > np.array(ratios[2::2])).sum())

    return Agreement(
        (float(spearman.statistic), float(spearman.pvalue)),
        (float(kendall.statistic), float(kendall.pvalue)),
        teeth(medians),
        teeth(published),
        len(published) // 2,
    )
