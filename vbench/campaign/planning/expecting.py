"""What a run will show: by records of its system, else by the step model of `vbench.plan.reach`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.forecast.performance import History, Performance
from vbench.plan.reach import prediction
from vbench.plan.reach.predictor import Predictor
from vbench.plan.sessions import Run, server_facts
from vbench.schema import RunConfig, to_plain
from vbench.schema.record import Record
from vbench.workload.search import streams

WIDTH = 2.0  # of a predicted range, in median errors of systems that were left out of the fit
SMALLEST_LIMIT = 256  # of max_num_seqs: a lower one also limits what CUDA graphs are captured for
# What predictions of one plan may cost, in requests of a burst to simulate: some 10 s of a core at most.
MOST_SIMULATED = 6_000_000
POINT = 200  # the cost of any point, in the same unit
QUEUED, ARRIVAL = 8, 40  # of a request where some wait for a place in the engine, or where each comes by itself


@dataclass
class Expectations:
    """What runs will show; runs with the same server and load are predicted once.

    What is predicted depends on the plan alone, not on the host's speed: predictions end as their cost, counted in
    simulated requests, exceeds `most`.
    """

    history: History
    predictor: Predictor
    most: float = math.inf
    predicted: int = 0  # points
    left_out: int = 0  # points that no record answers, behind the end of predictions
    _asked: dict[str, Performance | None] = field(default_factory=dict)
    _spent: float = 0.0

    def find(self, run: Run) -> Performance | None:
        """None if no record answers, and nothing can be predicted or predictions have ended."""
        return self.history.find(run.config) or self._predict_once(run.config)

    def _predict_once(self, config: RunConfig) -> Performance | None:
        key = _describe(config)
        if key not in self._asked and self._spent >= self.most:
            self.left_out += 1
            return None
        if key not in self._asked:
            self._asked[key] = predict(self.predictor, config)
            self._spent += _estimate_cost(config)
        self.predicted += self._asked[key] is not None
        return self._asked[key]


def _estimate_cost(config: RunConfig) -> float:
    load, places = config.workload, config.engine.max_num_seqs or math.inf
    if math.isfinite(load.request_rate) or streams(load) < load.request_count:
        return POINT + load.request_count * ARRIVAL
    return POINT + load.request_count * (QUEUED if load.request_count > places else 1)


def _describe(config: RunConfig) -> str:
    """Names what a prediction depends on. A limit beyond what the load asks for is as good as none."""
    engine, facts = config.engine, to_plain(config)
    load = {name: value for name, value in facts["workload"].items() if name not in ("seed", "repeats", "slo")}
    server = server_facts(facts)
    if engine.max_num_seqs is not None and not config.workload.search:
        server["engine"]["max_num_seqs"] = min(engine.max_num_seqs, max(streams(config.workload), SMALLEST_LIMIT))
    return json.dumps([server, load], sort_keys=True)


def make_expectations(records: Sequence[Record]) -> Expectations:
    """What the runs of one plan will show."""
    return Expectations(History(records), Predictor.default(), MOST_SIMULATED)


def predict(predictor: Predictor, config: RunConfig) -> Performance | None:
    """The prediction; None if the step model knows nothing of such a run."""
    try:
        found = predictor.predict(config)
    except ValueError:
        return None
    source = f"step model, {predictor.basis}"
    if config.workload.shares_prompts and config.engine.enable_prefix_caching is not False:
        source += "; as if no prompt were cached, so TTFT is too high where prompts share beginnings"
    return Performance(
        _widen(found.output_throughput, source),
        _widen(found.median_ttft_ms, source),
        _widen(found.median_tpot_ms, source),
    )


def _widen(found: prediction.Estimate, source: str) -> Estimate:
    factor = 1 + WIDTH * found.error
    return Estimate(found.value, found.value / factor, found.value * factor, Basis.predicted, source)
