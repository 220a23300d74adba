"""Mean, median and percentiles of latencies by key (`p99_ttft_ms`), and how far percentiles can be trusted. Pure.

A bound is the order statistic that lies above the true percentile with 95 % confidence. Of n independent samples, at
most j lie at or above the true p-quantile with the probability P(Binomial(n, 1 - p) <= j). The largest j for which that
is 5 % or less gives the bound: the sample that j others exceed. With fewer than NEEDED samples even the largest one is
no such bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from vbench.schema.record import Floats

CONFIDENCE = 0.95
PERCENTILES = (90, 95, 99)
SAMPLED = r"ttft|tpot|itl|e2el|chunk_gap|queue|session|ttft_turn\d+(?:_\d+|_up)?|ttft_cached\d+(?:_\d+|_up)?"
PERCENTILE_KEY = re.compile(rf"(?:steady_)?p(90|95|99)_(?:{SAMPLED})_ms$")


def needed(percent: int) -> int:
    """The fewest samples of which the largest is above the true percentile with 95 % confidence: 29, 59 or 299."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(percent / 100))


def compute_statistics(name: str, samples: Floats, replies: int) -> dict[str, float]:
    """Mean, median, deviation and percentiles of samples in seconds, and each percentile's bound; `…_ms` keys.

    `replies` is how many independent samples there are: gaps within one reply depend on each other, so they count as
    one. Empty without a sample; no bound with fewer than `needed` replies.
    """
    if not len(samples):
        return {}
    milliseconds = np.sort(samples * 1e3)
    found = {
        f"mean_{name}_ms": float(milliseconds.mean()),
        f"median_{name}_ms": float(np.percentile(milliseconds, 50)),
        f"std_{name}_ms": float(milliseconds.std()),
    }
    for percent in PERCENTILES:
        found[f"p{percent}_{name}_ms"] = float(np.percentile(milliseconds, percent))
        above = samples_above(replies, percent)
        if above is not None:
            place = len(milliseconds) - 1 - above * len(milliseconds) // replies
            found[f"p{percent}_{name}_upper_ms"] = float(milliseconds[place])
    return found


def percentile_of(key: str) -> int | None:
    """Which percentile this metric is: 99 of `p99_itl_ms` and `steady_p99_itl_ms`; None if it is none with a bound."""
    found = PERCENTILE_KEY.match(key)
    return int(found[1]) if found else None


def upper_key(key: str) -> str:
    """The key of a percentile's bound: `p99_itl_upper_ms` of `p99_itl_ms`."""
    return f"{key.removesuffix('_ms')}_upper_ms"


def needs_text(key: str, replies: float) -> str | None:
    """`needs 299` in place of a percentile over too few replies; None if it can be told, or if the metric is none."""
    percent = percentile_of(key)
    return f"needs {needed(percent)}" if percent and replies < needed(percent) else None


def count_replies(key: str, found: Mapping[Any, Any]) -> float:
    """How many replies tell this percentile, by a record's metrics or a row of them; infinite if they do not say.

    0 if they are enough, but too few have such a sample: those of one token have no TPOT. The record shows that by its
    bounds, as it has one of TTFT.
    """
    percent = percentile_of(key)
    if percent and is_known(found.get(witness_key(percent))) and not is_known(found.get(upper_key(key))):
        return 0.0
    return float(found.get("completed", found.get("replies", math.inf)))


def witness_key(percent: int) -> str:
    """The bound that a record has if it has any, wherever its replies are enough for this percentile.

    Some imported results have those of E2EL and queue time alone.
    """
    return f"p{percent}_ttft_upper_ms"


def is_known(value: float | None) -> bool:
    """Whether a record or a row has this number."""
    return value is not None and not math.isnan(value)


def withhold(key: str, values: Floats, replies: Floats) -> Floats:
    """A metric's values, NaN where it is a percentile over too few replies. Unknown replies (NaN) withhold none."""
    percent = percentile_of(key)
    return np.where(replies < needed(percent), np.nan, values) if percent else values


def quotable(key: str, replies: Iterable[float], known: Container[str]) -> str:
    """The percentile for a table's column: the key itself if one row has replies enough for it, else the highest lower
    one that most rows can tell; the key again if there is none, or if it is no percentile.

    `replies` has one number a row; `known` are the keys that exist.
    """
    percent, counts = percentile_of(key), list(replies)
    if percent is None or any(count >= needed(percent) for count in counts):
        return key
    for lower in sorted((each for each in PERCENTILES if each < percent), reverse=True):
        other = key.replace(f"p{percent}_", f"p{lower}_", 1)
        if other in known and 2 * sum(count >= needed(lower) for count in counts) > len(counts):
            return other
    return key


@cache
def samples_above(n: int, percent: int) -> int | None:
    """How many of n samples exceed the bound of this percentile; None if n is too few for one."""
    if n < needed(percent):
        return None
    exceeding, count = 1 - percent / 100, np.arange(math.ceil(n * (1 - percent / 100)) + 1)
    ratios = np.log((n - count[:-1]) / count[1:]) + math.log(exceeding / (1 - exceeding))
    log_pmf = n * math.log(1 - exceeding) + np.concatenate([[0.0], np.cumsum(ratios)])
    return int(np.searchsorted(np.logaddexp.accumulate(log_pmf), math.log(1 - CONFIDENCE), side="right")) - 1
