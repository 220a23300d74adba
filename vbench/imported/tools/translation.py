"""A result of another tool in our terms, and the words that several tools share. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from vbench.metrics import quantiles
from vbench.schema.record import Reason

Beside = Mapping[str, Sequence[Mapping[str, Any]]]  # the entries of files in a result's folder, by their names

NO_USAGE = "the file does not tell what the server's usage says"
SHAPES = ("mean", "median", "std", "p90", "p95", "p99")
MILLISECONDS = {"s": 1e3, "ms": 1.0, "s/token": 1e3, "ms/token": 1.0}


@dataclass(frozen=True)
class Translation:
    """One measurement of another tool.

    `result` has vLLM's result keys, but only for what the tool defines as vbench does (docs/metrics.md). What it calls
    by one of our names and defines otherwise stands in `metrics`, under a key that begins with the tool's name.
    """

    tool: str  # with its version, if the file states it
    result: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    warnings: tuple[Reason, ...] = ()
    ended: datetime | None = None  # UTC


def spread(found: Mapping[str, Any] | None, names: Mapping[str, str], key: str, scale: float = 1.0) -> dict[str, float]:
    """The statistics of one latency: `key` has a `{}` for the shape, `names` are the tool's names of SHAPES."""
    values = {shape: number((found or {}).get(names.get(shape, shape))) for shape in SHAPES}
    return {key.format(shape): value * scale for shape, value in values.items() if not math.isnan(value)}


def compute_latencies(replies: Iterable[tuple[float, float, int]]) -> dict[str, float]:
    """TTFT, TPOT and E2EL as vbench defines them, of each reply's TTFT and E2EL in seconds and its output tokens."""
    ttft, e2el, tokens = np.array(list(replies), dtype=np.float64).reshape(-1, 3).T
    several = tokens > 1
    tpot = (e2el - ttft)[several] / (tokens[several] - 1)
    samples = {"ttft": ttft, "tpot": tpot, "e2el": e2el}
    return {
        key: value
        for name, values in samples.items()
        for key, value in quantiles.compute_statistics(name, values, len(values)).items()
    }


def number(value: Any) -> float:
    """The value as a float; NaN if it is none, or not finite."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else math.nan


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without None and NaN."""
    return {key: value for key, value in values.items() if value is not None and value == value}  # noqa: PLR0124  NaN


def cache_unchecked(tool: str) -> Reason:
    """No tool but vbench looks whether the server had the prompts in its cache."""
    sentence = (
        f"{tool} neither resets the prefix cache nor checks its hits: repeated prompts may have been served from it"
    )
    return Reason("cache_unchecked", sentence)


def nearest_rank(tool: str) -> Reason:
    """Percentiles are samples, not interpolated between two."""
    sentence = f"percentiles of {tool} are nearest rank, not interpolated: of few samples they differ from vbench's"
    return Reason("nearest_rank", sentence)


def tokens_by_tokenizer(tool: str, detail: str) -> Reason:
    """Output tokens are those that the tool's own tokenizer makes of the text, whatever the server's usage says."""
    return Reason("tokens_by_tokenizer", f"{tool} counts output tokens by its own tokenizer: {detail}")


def to_stream_end(tool: str) -> Reason:
    """E2EL is that of the HTTP reply, not of the last token."""
    sentence = f"{tool}'s latency ends with the stream, after its last token: so does its TPOT, if it is made of it"
    return Reason("e2el_to_stream_end", sentence)


SUMMARY_ONLY = Reason("summary_only", "no samples of single requests: empty replies and merged tokens cannot be seen")
