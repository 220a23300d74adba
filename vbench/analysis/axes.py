"""The quantities that curves and tables can show, one line each. Pure.

An axis is a column of the runs: a metric's key, or a column that `vbench.analysis.frame` derives.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from vbench.metrics.names import metric_name
from vbench.schema.errors import Refused


@dataclass(frozen=True)
class Axis:
    """A column, and how people read it."""

    key: str
    short: str  # for sentences and table headers
    less_is_better: bool
    digits: str  # the format of a table cell
    adds_up: bool = False  # n copies of a system give n times as much

    @property
    def label(self) -> str:
        """With its unit, for a figure; at most 31 characters, because it shares its line with a legend."""
        return metric_name(self.key)


AXES = (
    Axis("median_itl_ms", "median ITL in ms", True, ",.1f"),
    Axis("p99_itl_ms", "p99 ITL in ms", True, ",.1f"),
    Axis("median_tpot_ms", "median TPOT in ms", True, ",.1f"),
    Axis("median_ttft_ms", "median TTFT in ms", True, ",.0f"),
    Axis("p99_ttft_ms", "p99 TTFT in ms", True, ",.0f"),
    Axis("median_e2el_ms", "median E2EL in ms", True, ",.0f"),
    Axis("output_throughput", "output tokens/s", False, ",.0f", adds_up=True),
    Axis("request_throughput", "requests/s", False, ",.2f", adds_up=True),
    Axis("output_throughput_per_gpu", "output tokens/s a GPU", False, ",.0f"),
    Axis("dollars_per_million_tokens", "$ a million tokens out", True, ",.2f"),
    Axis("output_tokens_per_joule", "output tokens/J", False, ",.2f"),
)
DOLLARS_AN_HOUR = "dollars_per_gpu_hour"  # a column of the runs: the price of one GPU, given or recorded
IN_DOLLARS = ("dollars_per_million_tokens", "users_per_dollar")
LATENCY, THROUGHPUT = "median_itl_ms", "output_throughput"


def axis(key: str) -> Axis:
    """The axis with that key. Raises Refused, naming the nearest key, if there is none."""
    known = {each.key: each for each in AXES}
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
        raise Refused(f"x or y={key}: no such axis; did you mean {near}? Choose from {', '.join(known)}")
    return known[key]
