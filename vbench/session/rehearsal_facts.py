"""What a session's rehearsal has cost and found, for the facts in its records."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Rehearsal:
    """The outcome of a session's rehearsal, as far as it has come."""

    began: float
    budget_s: float
    rounds: int = 0
    steps: int = 0  # prefill steps sent one by one
    left_out: int = 0  # shapes, for lack of time
    steps_left_out: int = 0  # sizes of prefill steps, likewise
    compilations: int = 0  # lines of the logs
    compiled: list[str] = field(default_factory=list)  # kernels, in order, each once
    still_compiling: list[str] = field(default_factory=list)  # likewise, when we gave up on their shape
    cold_s: float = 0.0  # of the steps: what they took longer because the cache on disk did not have their kernels
    prefill_rate: float = 0.0  # prompt tokens a second, from the rounds without compilation: `metrics.stalls`
    peak_prefill_rate: float = 0.0  # likewise: `metrics.prefill`
    met_in_full: bool = False  # a shape of the runs, with all of its tokens, and compiled nothing
    front_ends_warm: bool = False  # a shape took no less time than in the round before

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.monotonic() - self.began)

    def add_cold(self, extra_s: float, least_s: float) -> bool:
        """Counts what a step took longer than usual if that was a compilation, at least `least_s`; whether it was.

        That time extends the budget: it has a limit of its own.
        """
        cold = extra_s >= least_s
        if cold:
            self.cold_s += extra_s
            self.budget_s += extra_s
        return cold

    def count(self, lines: Sequence[str]) -> list[str]:
        """Counts the lines of compilations, given as the names of their kernels; returns each name once."""
        kernels = list(dict.fromkeys(lines))
        self.compilations += len(lines)
        self.compiled += [kernel for kernel in kernels if kernel not in self.compiled]
        return kernels

    @property
    def facts(self) -> dict[str, Any]:
        """For the record's `server`: seconds, bursts, steps, kernels compiled, and what still compiled at its end."""
        found: dict[str, Any] = {
            "rehearsal_s": round(time.monotonic() - self.began, 3),
            "rehearsal_budget_s": round(self.budget_s, 1),
            "rehearsal_rounds": self.rounds,
            "rehearsal_compiled": len(self.compiled),
            "prefill_tokens_per_s": round(self.prefill_rate, 1),
            "peak_prefill_tokens_per_s": round(self.peak_prefill_rate, 1),
        }
        if self.compilations:
            found["rehearsal_compilations"] = self.compilations
        if self.steps:
            found["rehearsal_steps"] = self.steps
            found["kernel_cache"] = "cold" if self.cold_s else "warm"
        if self.cold_s:
            found["rehearsal_cold_s"] = round(self.cold_s, 1)
        if self.left_out:
            found["rehearsal_left_out"] = self.left_out
        if self.steps_left_out:
            found["rehearsal_steps_left_out"] = self.steps_left_out
        left_out = [f"kernels of {self.steps_left_out} step sizes that were not tried"] if self.steps_left_out else []
        if still := self.still_compiling + left_out:
            found["still_compiling"] = ", ".join(still)
        return found
