"""plan.json: every number of a plan with its range, its basis and its source. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vbench.plan.forecast.campaign import Forecast, PlannedRun, PlannedSession, list_pool_sizes, pack_pool
from vbench.plan.forecast.estimate import Estimate, Total
from vbench.plan.forecast.packing import wall_s
from vbench.plan.naming import load_name, split_name
from vbench.schema import to_plain

NAME = "plan.json"


def describe(found: Forecast, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The plan as plain data. Hours and dollars are totals of what would be started."""
    return {
        "sessions_to_start": len(found.started),
        "points_to_measure": sum(len(each.missing) for each in found.sessions),
        "points_recorded": sum(len(each.runs) - len(each.missing) for each in found.sessions if not each.infeasible),
        "points_predicted": found.predicted,
        "points_not_predicted": found.not_predicted,
        "points_infeasible": sum(len(each.runs) for each in found.sessions if each.infeasible),
        "gpu_hours": _total(found.gpu_hours),
        "dollars": _total(found.dollars) if found.dollars else None,
        "wall_s": {
            pool: {str(size): wall_s(pack_pool(each, size)) for size in list_pool_sizes(each, sizes.get(pool))}
            for pool, each in found.pools.items()
        },
        "sessions": [_session(each) for each in found.sessions],
    }


def _session(each: PlannedSession) -> dict[str, Any]:
    session = each.session
    return {
        "session": session.folder,
        "experiment": session.experiment,
        "model": session.model.name,
        "hardware": session.hardware.name,
        "split": split_name(session.parallelism),
        "gpus": each.gpus,
        "pool": each.pool,
        "infeasible": each.infeasible or None,
        "fit": each.fit.verdict.value if each.fit else None,
        "kv_cache_tokens": each.fit.kv_cache_tokens if each.fit else None,
        "max_context_tokens": each.fit.max_context_tokens if each.fit else None,
        "weights_gib": each.fit.weights_gib if each.fit else None,
        "memory_basis": ("measured" if each.fit.measured else "estimated") if each.fit else None,
        "start_s": to_plain(each.start),
        "rehearsal_s": to_plain(each.rehearsal),
        "held_s": _total(each.seconds),
        "gpu_hours": _total(each.gpu_hours),
        "basis": each.basis.name if each.basis else None,  # the weakest of its points' seconds
        "dollars": _total(each.dollars) if each.dollars else None,
        "points": [_run(run) for run in each.runs],
    }


def _run(planned: PlannedRun) -> dict[str, Any]:
    expected = planned.expected
    return {
        "run": planned.run.name,
        "key": planned.run.key,
        "load": load_name(planned.run.config),
        "seconds": _estimate(planned.seconds),
        "output_throughput": _estimate(expected.output_throughput if expected else None),
        "median_ttft_ms": _estimate(expected.ttft_ms if expected else None),
        "median_tpot_ms": _estimate(expected.tpot_ms if expected else None),
    }


def _estimate(each: Estimate | None) -> dict[str, Any] | None:
    return to_plain(each) if each else None


def _total(total: Total) -> dict[str, float]:
    return {"value": total.value, "low": total.low, "high": total.high}
