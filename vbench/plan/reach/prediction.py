"""What a prediction says. Every number here is predicted, never measured: tables keep the two apart."""

from __future__ import annotations

from dataclasses import dataclass

METRICS = ("output_throughput", "median_tpot_ms", "median_ttft_ms")  # that the model is fitted to
TAILS = ("p99_tpot_ms", "p99_ttft_ms")  # that it is not fitted to, and predicts too


@dataclass(frozen=True)
class Estimate:
    """A predicted value, and its expected relative error: the median of it on systems that were left out of the fit."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:,.4g} ± {self.error:.0%}"


@dataclass(frozen=True)
class Prediction:
    """The predicted result of one point."""

    output_throughput: Estimate  # tokens/s
    total_token_throughput: Estimate  # prompt and output tokens/s
    median_ttft_ms: Estimate
    median_tpot_ms: Estimate
    duration_s: float  # from the first request sent to the last token
    bound: str  # what takes most of the duration: a word of vbench.metrics.bounds
    seconds: dict[str, float]  # by what the engine and front end spend them on
    basis: str  # what it rests on, in words
    source: str = "predicted"
