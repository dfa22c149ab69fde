"""One measured number beside its target, and the rule that noise gives no number."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LOOSEST_SPREAD: Final = 0.5
"""A reference whose rounds differ by more than this share measured the neighbours, not us."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a value: at most `limit`, or at least."""

    limit: float
    at_least: bool = False

    def met(self, value: float, slack: float = 0.0) -> bool:
        """Whether the value keeps it; `slack` is the share it may miss by."""
        return value >= self.limit * (1 - slack) if self.at_least else value <= self.limit * (1 + slack)

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


def at_most(limit: float) -> Target:
    """The target "no more than"."""
    return Target(limit)


def at_least(limit: float) -> Target:
    """The target "no less than"."""
    return Target(limit, at_least=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table. `value` is the median of the rounds; None: no result, and `detail` says why."""

    name: str
    unit: str
    value: float | None
    low: float | None = None
    high: float | None = None
    target: Target | None = None
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or a value."""
        return None if self.target is None or self.value is None else self.target.met(self.value)


def spread(values: Sequence[float]) -> float:
    """How far the rounds lie apart, as a share of their median."""
    return (max(values) - min(values)) / statistics.median(values)


def ratio(
    name: str, ours: Sequence[float], theirs: Sequence[float], unit: str, target: Target | None, peer: str = "L"
) -> Figure:
    """Ours over theirs, round by round; no result if theirs spread too far. `unit` is that of both."""
    detail = f"{statistics.median(ours):.4g} against {statistics.median(theirs):.4g} {unit} of {peer}"
    if spread(theirs) > LOOSEST_SPREAD:
        return Figure(
            name, "x", None, target=target, detail=f"too noisy: {peer} spreads {spread(theirs):.0%}; {detail}"
        )
    rounds = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Figure(name, "x", statistics.median(rounds), min(rounds), max(rounds), target, detail)


def plain(name: str, values: Sequence[float], unit: str, target: Target | None = None, detail: str = "") -> Figure:
    """A value by itself."""
    return Figure(name, unit, statistics.median(values), min(values), max(values), target, detail)


def skipped(name: str, why: str, target: Target | None = None) -> Figure:
    """What was not measured."""
    return Figure(name, "", None, target=target, detail=f"skipped: {why}")
