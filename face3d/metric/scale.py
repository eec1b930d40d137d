"""The true size of a fitted head: independent estimates of one factor, weighed against each other.

A fitted head is in units that are metres if the person is as large as people with such a face are
on average. What is estimated is the factor to true metres. Its logarithm is Gaussian, so that twice
as large is as far off as half as large.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from face3d.core.errors import InputError

Trust = Literal["given", "measured", "metadata"]

_RANK: dict[str, int] = {"metadata": 0, "measured": 1, "given": 2}

MOST_APART = 3.0
"""Standard deviations from the rest beyond which a source is left out."""

CHANCE_CHI_SQUARED = (3.84, 5.99, 7.81, 9.49, 11.07, 12.59)
"""What chi squared exceeds once in twenty times, for one degree of freedom and more."""

LEAST_FACTOR, MOST_FACTOR = 0.25, 4.0
"""No head is so much smaller or larger than others; a source that says so is wrong."""


@dataclass(frozen=True, kw_only=True)
class ScaleSource:
    """One estimate of a head's size.

    Attributes:
        name: What it comes from.
        metres_per_unit: The factor to true size; NaN if the source had nothing to say.
        sd: Standard deviation of ``metres_per_unit``.
        used: Whether it is part of the result.
        note: Why not, or what is special; empty if there is nothing to say.
        trust: "given" by the user and never left out, "measured", or "metadata" of a file.
    """

    name: str
    metres_per_unit: float
    sd: float
    used: bool = True
    note: str = ""
    trust: Trust = "measured"

    @property
    def log_factor(self) -> float:
        """Logarithm of the factor."""
        return math.log(self.metres_per_unit)

    @property
    def log_sd(self) -> float:
        """Standard deviation of the factor's logarithm."""
        return self.sd / self.metres_per_unit


@dataclass(frozen=True, kw_only=True)
class Scale:
    """By which factor a fitted head has its true size.

    Attributes:
        metres_per_unit: The factor, the median of its distribution.
        sd: Its standard deviation.
        sources: All estimates, also those that were left out.
        notes: What a user should know, one sentence each.
    """

    metres_per_unit: float
    sd: float
    sources: tuple[ScaleSource, ...]
    notes: tuple[str, ...] = ()

    @property
    def log_sd(self) -> float:
        """Standard deviation of the factor's logarithm: the relative error of every length."""
        return self.sd / self.metres_per_unit

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the sources that the result comes from, the surest first."""
        part = sorted((s for s in self.sources if s.used), key=lambda s: s.log_sd)
        return tuple(s.name for s in part)


POPULATION = "population"


def scale_source(
    name: str, factor: float, log_sd: float, *, trust: Trust = "measured", note: str = ""
) -> ScaleSource:
    """A source from its factor and the standard deviation of the factor's logarithm.

    This is also how a network's estimate comes in, such as MICA's.

    Raises:
        InputError: A number is not finite or not positive.
    """
    if not (math.isfinite(factor) and factor > 0 and math.isfinite(log_sd) and log_sd > 0):
        raise InputError(
            f"The size from {name} is {factor} with deviation {log_sd}; both must be positive."
        )
    believable = LEAST_FACTOR <= factor <= MOST_FACTOR
    if not believable:
        note = f"says that the head is {factor:.2g} times as large as people's, so it is left out"
    return ScaleSource(
        name=name, metres_per_unit=factor, sd=factor * log_sd, used=believable, note=note,
        trust=trust,
    )  # fmt: skip


def silent_source(name: str, why: str, *, trust: Trust = "measured") -> ScaleSource:
    """A source that has nothing to say, and why."""
    nan = float("nan")
    return ScaleSource(name=name, metres_per_unit=nan, sd=nan, used=False, note=why, trust=trust)


def combine_scales(sources: Sequence[ScaleSource], notes: Sequence[str] = ()) -> Scale:
    """The mean of all sources that agree, weighted by their precision.

    A source more than MOST_APART deviations from the rest is left out if the rest holds a source
    of more trust, or two of as much; the farthest goes first. What is left and still disagrees by
    more than chance gets a wider deviation (Birge, 1932).

    Args:
        sources: Independent estimates, the population among them.
        notes: Sentences to put first.

    Returns:
        The factor, with every source and whether it was used.

    Raises:
        InputError: No source can be used.

    Example:
        >>> population = scale_source("population", 1.0, 0.06)
        >>> iris = scale_source("iris", 1.05, 0.045)
        >>> round(combine_scales([population, iris]).metres_per_unit, 3)
        1.032
    """
    all_sources = list(sources)
    remarks = list(notes)
    remarks += [f"The size from {s.name} {s.note}." for s in all_sources if _absurd(s)]
    while (worst := _contradiction(all_sources)) is not None:
        at, apart, rest = worst
        dropped = all_sources[at]
        why = f"is {100 * abs(rest):.0f}% {'below' if rest > 0 else 'above'} what the rest says"
        all_sources[at] = replace(dropped, used=False, note=f"{why} ({apart:.1f} deviations)")
        remarks.append(f"The size from {dropped.name} {why}, so it is left out.")
    used = [s for s in all_sources if s.used]
    if not used:
        raise InputError("No source says how large the head is; give at least the population's.")
    mean, deviation = _mean(used)
    spread = sum(((s.log_factor - mean) / s.log_sd) ** 2 for s in used)
    freedom = len(used) - 1
    if freedom and spread > CHANCE_CHI_SQUARED[min(freedom, len(CHANCE_CHI_SQUARED)) - 1]:
        deviation *= math.sqrt(spread / freedom)
        names = ", ".join(s.name for s in used)
        remarks.append(f"The sources of size ({names}) disagree, so its deviation is widened.")
    factor = math.exp(mean)
    return Scale(
        metres_per_unit=factor,
        sd=factor * deviation,
        sources=tuple(all_sources),
        notes=tuple(remarks),
    )


def _absurd(source: ScaleSource) -> bool:
    value = source.metres_per_unit
    return math.isfinite(value) and not LEAST_FACTOR <= value <= MOST_FACTOR


def _mean(sources: Sequence[ScaleSource]) -> tuple[float, float]:
    """Mean of the logarithms, weighted by precision, and its deviation."""
    weights = [s.log_sd**-2 for s in sources]
    total = sum(weights)
    mean = sum(w * s.log_factor for w, s in zip(weights, sources, strict=True)) / total
    return mean, total**-0.5


def _contradiction(sources: Sequence[ScaleSource]) -> tuple[int, float, float] | None:
    """The source that is farthest from the rest and may be left out.

    Returns:
        Its place, how many deviations it is off, and the rest's relative excess over it.
    """
    worst: tuple[int, float, float] | None = None
    for k, source in enumerate(sources):
        rest = [s for j, s in enumerate(sources) if j != k and s.used]
        if not source.used or not rest:
            continue
        rank = _RANK[source.trust]
        as_much = sum(_RANK[s.trust] >= rank for s in rest)
        if as_much < 2 and not any(_RANK[s.trust] > rank for s in rest):
            continue
        if source.trust == "given" and sum(s.trust == "given" for s in rest) < 2:
            continue
        mean, deviation = _mean(rest)
        apart = abs(source.log_factor - mean) / math.hypot(source.log_sd, deviation)
        if apart > MOST_APART and (worst is None or apart > worst[1]):
            worst = (k, apart, 1 - math.exp(source.log_factor - mean))
    return worst
