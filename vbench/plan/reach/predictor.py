"""Predicts throughput and latencies of a point before a GPU is held; its few efficiencies are fitted to records. Pure.

    predictor = Predictor.fit(records)      # or Predictor.default(): fitted to published records
    predictor.predict(config).output_throughput.value

The fit is a least-squares fit of logarithms, robust to outliers, with priors (`efficiencies`). The expected errors are
those of leaving one system out after the other: what stands beside a prediction was not fitted to its system.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from vbench.plan.reach.efficiencies import BOUNDS, SPREAD, TYPICAL, Efficiencies
from vbench.plan.reach.latencies import predict_latencies
from vbench.plan.reach.observations import Observation, observe
from vbench.plan.reach.outcome import Outcome, compute_outcome, describe_server, simulate_point
from vbench.plan.reach.points import Point, make_point
from vbench.plan.reach.prediction import METRICS, TAILS, Estimate, Prediction
from vbench.plan.reach.simulation import FrontEnd
from vbench.plan.reach.steps import StepCosts
from vbench.schema import RunConfig
from vbench.schema.record import Floats, Record

SCALES = np.array([0.10, 0.12, 0.25])  # relative errors of METRICS that weigh alike
ROUNDS = 12  # evaluations of the Jacobian at most
TOLERANCE = 1e-4  # of the sum that is minimized, from one round to the next
STEP = 1e-3  # of a logarithm, for differences
DEFAULTS = "efficiencies.json"


@dataclass(frozen=True)
class Predictor:
    """Efficiencies with what they rest on: medians of the relative errors, in the order of METRICS and of TAILS."""

    efficiencies: Efficiencies
    errors: tuple[float, ...]
    tail_errors: tuple[float, ...]
    basis: str

    @classmethod
    def fit(cls, records: Iterable[Record]) -> Predictor:
        """Fitted to the usable ones of these records. Raises ValueError if there is none."""
        seen = observe(records)
        if not seen:
            raise ValueError("no record is usable: VALID runs of vbench under load on a known GPU are needed")
        found = fit_efficiencies(seen)
        fits = estimate_left_out_fits(seen, found)
        systems = {each.system for each in seen}
        basis = f"fitted to {len(seen)} points of {len(systems)} systems; errors are of systems left out of the fit"
        return cls(
            found, take_medians(compute_errors(seen, fits)), take_medians(compute_tail_errors(seen, fits)), basis
        )

    @classmethod
    @cache
    def default(cls) -> Predictor:
        """Fitted to the records that vbench publishes, for a host without records of its own."""
        return cls.from_json(files("vbench.plan.reach").joinpath(DEFAULTS).read_text())

    @classmethod
    def from_json(cls, text: str) -> Predictor:
        data = json.loads(text)
        errors = tuple(data["errors"]), tuple(data["tail_errors"])
        return cls(Efficiencies(**data["efficiencies"]), *errors, data["basis"])

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    def predict(self, config: RunConfig, kv_tokens: float | None = None) -> Prediction:
        """The prediction for a config. `kv_tokens`: capacity of one replica's KV cache where it is known.

        Raises ValueError, saying why, where nothing can be said: no GPU, an external server, no load.
        """
        return self.predict_point(make_point(config, kv_tokens))

    def predict_point(self, point: Point) -> Prediction:
        """The prediction for a point."""
        outcome = compute_outcome(point, self.efficiencies)
        throughput, tpot, ttft = self.errors
        total = outcome.output_throughput * point.load.lengths.sum() / max(point.load.lengths[:, 1].sum(), 1)
        return Prediction(
            output_throughput=Estimate(outcome.output_throughput, throughput),
            total_token_throughput=Estimate(float(total), throughput),
            median_ttft_ms=Estimate(outcome.median_ttft_ms, ttft),
            median_tpot_ms=Estimate(outcome.median_tpot_ms, tpot),
            duration_s=outcome.duration_s,
            bound=outcome.bound,
            seconds=outcome.seconds,
            basis=self.basis,
        )


def fit_efficiencies(seen: Sequence[Observation], rounds: int = ROUNDS, start: Efficiencies = TYPICAL) -> Efficiencies:
    """The efficiencies that explain these points best, given the priors; `start` is where the fit begins."""
    from scipy.optimize import least_squares  # takes half a second to import

    metrics = _Metrics()
    found = least_squares(
        lambda vector: np.concatenate([_residuals(vector, seen, metrics), (vector - TYPICAL.as_vector()) / SPREAD]),
        start.as_vector(),
        bounds=BOUNDS,
        loss="soft_l1",
        diff_step=STEP,
        x_scale=SPREAD,
        ftol=TOLERANCE,
        max_nfev=rounds,
    )
    return Efficiencies.from_vector(found.x)


class _Metrics:
    """Predicted METRICS of points. Most efficiencies do not concern most systems: equal costs are simulated once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, StepCosts, FrontEnd], Floats] = {}

    def predict(self, point: Point, found: Efficiencies) -> Floats:
        server = describe_server(point, found)
        key = (id(point), *server)
        if key not in self._known:
            self._known[key] = _read_metrics(simulate_point(point, *server))
        return self._known[key]


Fits = Mapping[str, Efficiencies]  # by system


def compute_errors(seen: Sequence[Observation], found: Efficiencies | Fits) -> Floats:
    """Predicted over measured minus 1, (points, METRICS), with these efficiencies or with each system's own."""
    rows = [_read_metrics(compute_outcome(each.point, _choose(found, each))) / each.measured - 1 for each in seen]
    return np.array(rows)


def compute_tail_errors(seen: Sequence[Observation], found: Efficiencies | Fits) -> Floats:
    """Predicted over measured minus 1, (points, TAILS); NaN where the load is too small to tell a 99th percentile.

    NaN, too, for several replicas: the latencies of each request are predicted of one.
    """
    errors = np.full((len(seen), len(TAILS)), np.nan)
    for place, each in enumerate(seen):
        if each.point.replicas == 1 and np.isfinite(each.tails).all():
            latencies = predict_latencies(each.point, _choose(found, each))
            predicted = [np.percentile(values, 99) for values in (latencies.tpot_ms, latencies.ttft_ms)]
            errors[place] = np.array(predicted) / each.tails - 1
    return errors


def take_medians(errors: Floats) -> tuple[float, ...]:
    """The medians of errors (points, n), by size; infinite where no point tells one."""
    known = [np.abs(column[np.isfinite(column)]) for column in errors.T]
    return tuple(float(np.median(column)) if len(column) else math.inf for column in known)


def _choose(found: Efficiencies | Fits, observation: Observation) -> Efficiencies:
    return found if isinstance(found, Efficiencies) else found[observation.system]


def estimate_left_out_fits(
    seen: Sequence[Observation], found: Efficiencies, *, by_model: bool = False
) -> dict[str, Efficiencies]:
    """For each system, the efficiencies that a fit without it would find, or without any system of its model.

    Instead of fitting again, one Gauss-Newton step is taken from the common fit without these rows.
    """
    vector, metrics = found.as_vector(), _Metrics()
    base = _residuals(vector, seen, metrics)
    slopes = np.empty((len(base), len(vector)))
    for place in range(len(vector)):
        moved = vector.copy()
        moved[place] -= STEP
        slopes[:, place] = (base - _residuals(moved, seen, metrics)) / STEP
    weight = 1 / np.sqrt(1 + base**2)  # of soft_l1
    owners = {each.system: each.model if by_model else each.system for each in seen}
    rows = np.repeat([owners[each.system] for each in seen], len(METRICS))
    fits = {}
    for system, owner in owners.items():
        kept = rows != owner
        weighted = slopes[kept] * weight[kept, None]
        normal = weighted.T @ slopes[kept] + np.diag(1 / SPREAD**2)
        pull = weighted.T @ base[kept] + (vector - TYPICAL.as_vector()) / SPREAD**2
        fits[system] = Efficiencies.from_vector(np.clip(vector - np.linalg.solve(normal, pull), *BOUNDS))
    return fits


def _residuals(vector: Floats, seen: Sequence[Observation], metrics: _Metrics) -> Floats:
    found = Efficiencies.from_vector(vector)
    return np.concatenate([np.log(metrics.predict(each.point, found) / each.measured) / SCALES for each in seen])


def _read_metrics(outcome: Outcome) -> Floats:
    return np.array([getattr(outcome, metric) for metric in METRICS])
