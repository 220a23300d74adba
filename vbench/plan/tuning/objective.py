"""The score of a record: requests within the SLO, a second or per dollar. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vbench.plan.tuning.trial import Outcome
from vbench.schema import RunConfig
from vbench.schema.record import Record

GOODPUT, COST = "goodput", "cost"
NAMES = (GOODPUT, COST)


@dataclass(frozen=True)
class Objective:
    """What is maximised. Under `cost`, requests within the SLO per dollar, whose inverse is told as $/M tokens."""

    name: str
    output_len: float = 0.0  # mean reply length in tokens, for $/M tokens

    def score(self, config: RunConfig, price: float | None, records: Sequence[Record | None]) -> Outcome:
        """Of the runs of one start: their geometric mean. `price` is that of one GPU, $ an hour."""
        found = [read_goodput(record) for record in records]
        scores = [each.score for each in found if each.score is not None]
        if not scores:
            return Outcome(None, found[0].why)
        goodput = statistics.geometric_mean(scores) if min(scores) > 0 else statistics.fmean(scores)
        if self.name == GOODPUT:
            return Outcome(goodput)
        assert price is not None
        return Outcome(goodput * 3600 / (price * config.hardware.gpus))

    def describe(self, score: float) -> str:
        """`12.3 requests/s` or `$0.41/M output tokens`."""
        if self.name == GOODPUT:
            return f"{score:.3g} requests/s"
        return f"${1e6 / (score * self.output_len):.3g}/M output tokens" if score else "meets the SLO with no request"


def read_goodput(record: Record | None) -> Outcome:
    """Requests a second that meet the SLO; of a search, at the highest level that passed, 0 if none did."""
    if record is None:
        return Outcome(None, "not measured")
    if record.failure:
        return Outcome(None, f"{record.failure.kind}: {record.failure.line}")
    if record.invalid:
        return Outcome(None, "INVALID: " + "; ".join(f"{reason.code}: {reason.sentence}" for reason in record.invalid))
    found = record.metrics.get("slo_request_goodput" if record.config["workload"].get("search") else "request_goodput")
    return Outcome(0.0 if found is None or not math.isfinite(found) else found)
