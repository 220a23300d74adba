"""Lengths, counts and times that vary: drawn as `schema.loads` writes them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbench.schema.errors import Refused
from vbench.schema.loads import DRAWN
from vbench.schema.record import Floats, Ints

PARAMETERS = {"exponential": 1, "lognormal": 2}  # without the most


@dataclass(frozen=True)
class Distribution:
    """A distribution over numbers from `least`; draws above `most` count as `most`."""

    kind: str  # fixed, even, exponential or lognormal
    parameters: tuple[float, ...]
    least: float
    most: float

    @property
    def mean(self) -> float:
        """The mean, without regard to `most`."""
        return sum(self.parameters) / 2 if self.kind == "even" else self.parameters[-1]

    def times(self, n: int, rng: np.random.Generator) -> Floats:
        """N draws, (n,)."""
        first, last = self.parameters[0], self.parameters[-1]
        if self.kind == "fixed":
            drawn = np.full(n, first)
        elif self.kind == "even":
            drawn = rng.uniform(first, last, n)
        elif self.kind == "exponential":
            drawn = rng.exponential(first, n)
        else:
            drawn = rng.lognormal(math.log(first), math.sqrt(2 * math.log(last / first)), n)
        return np.clip(drawn, self.least, self.most)

    def counts(self, n: int, rng: np.random.Generator) -> Ints:
        """N draws as whole numbers, (n,). An exponential distribution becomes a geometric one of the same mean."""
        first, last = self.parameters[0], self.parameters[-1]
        if self.kind == "even":
            return rng.integers(int(first), int(last) + 1, n, dtype=np.int64)
        if self.kind == "exponential":
            drawn = rng.geometric(1 / max(first - self.least + 1, 1), n) - 1 + int(self.least)
        else:
            drawn = np.rint(self.times(n, rng))
        whole: Ints = np.clip(drawn, self.least, self.most).astype(np.int64)
        return whole


def distribution(value: Any, key: str, least: float) -> Distribution:
    """The distribution that a config's value describes. Raises Refused, naming the key, if it describes none.

    `least` is the smallest number that makes sense: 0 or 1.
    """
    try:
        found = _parse(value, least)
    except (TypeError, ValueError):
        found = None
    if found is None or not _is_sound(found):
        raise Refused(f"workload.{key}={value}: must be {DRAWN}; {least:g} or more, and the mean above the median")
    return found


def _parse(value: Any, least: float) -> Distribution | None:
    if isinstance(value, str):
        kind, *numbers = value.split(":")
        count = PARAMETERS.get(kind, -1)
        if len(numbers) not in (count, count + 1):
            return None
        given = [float(number) for number in numbers]
        return Distribution(kind, tuple(given[:count]), least, given[count] if len(given) > count else math.inf)
    if isinstance(value, (list, tuple)):
        low, high = value
        return Distribution("even", (float(low), float(high)), least, math.inf) if low <= high else None
    return None if isinstance(value, bool) else Distribution("fixed", (float(value),), least, math.inf)


def _is_sound(found: Distribution) -> bool:
    numbers = found.parameters
    finite = all(math.isfinite(number) for number in numbers) and not math.isnan(found.most)
    within = finite and min(numbers) >= found.least and found.most >= found.least
    if found.kind == "exponential":
        return within and numbers[0] > 0
    return within and (found.kind != "lognormal" or 0 < numbers[0] < numbers[1])
