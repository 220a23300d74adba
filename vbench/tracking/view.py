"""What MLflow's own pages show for an experiment: its description, the columns of its runs table, its first charts.

By default the table shows no metrics, and the charts are of ten runs and begin with the CPU's. A view stored as an
experiment tag shows the metrics, and all runs in charts of throughput and latency before the others, at
`#/experiments/ID/runs?workflowType=machine_learning&viewStateShareKey=vbench`. MLflow writes such tags itself when a
view is shared, but does not document them: if a later version ignores them, the page shows its default columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

VIEW = "vbench"  # the shared view with our columns
REPORT = "vbench.report"  # the tag of a run that holds a report and measured nothing
LONGEST_NOTE = 20_000  # MLflow's limit on an experiment's tag

HEADLINES = (
    "output_throughput",
    "request_throughput",
    "median_ttft_ms",
    "p99_ttft_ms",
    "median_tpot_ms",
    "median_itl_ms",
    "p99_itl_ms",
    "median_e2el_ms",
    "completed",
    "failed",
    "duration",
    "steady_output_throughput",  # read together with the next one: the seconds that it covers
    "steady_duration",
)

ANSWERS = (  # of a search
    *("slo_max_concurrency", "slo_request_rate", "slo_sessions", "slo_capacity_low", "slo_capacity_high"),
    *("slo_request_goodput", "slo_output_throughput", "probes"),
)

COLUMNS = (
    "tags.`vbench.validity`",
    "params.`model.name`",
    "params.`hardware.name`",
    "params.`parallelism.name`",
    *(f"params.`workload.{key}`" for key in ("num_prompts", "request_rate", "max_concurrency", "sessions")),
    *(f"metrics.`{key}`" for key in ANSWERS[:3]),  # MLflow shows none of which no run has a value
    *(f"metrics.`{key}`" for key in HEADLINES[:7]),
    "tags.`vbench.reasons`",
    "tags.`vbench.failure`",
)

CHARTS = "Throughput and latency, INVALID runs too"

ABOUT = (
    "LLM serving benchmarks by vbench: one run is one measured point.\n\n"
    "- `vbench.validity`: VALID; INVALID (measured, not to be trusted: `vbench.reasons`); "
    "FAILED (not measured: `vbench.failure`)\n"
    "- MLflow's own status is FAILED for INVALID runs too, so that only VALID runs have its green tick\n"
    "- metrics carry the keys of `vllm bench serve`; throughput in tokens a second, latencies in milliseconds\n"
    "- `record.json` among a run's artifacts has everything about it, `requests.npz` the raw samples\n"
    "- charts show INVALID runs too: filter by `tags.vbench.validity = 'VALID'`; a step is a second of the run\n"
    "- group the runs by the tags `vbench.session` (one server) or `vbench.point` (one load on it, all repeats)\n"
    "- this table with its metric columns: add `?workflowType=machine_learning&viewStateShareKey=vbench` "
    "to this page's address"
)


def _describe_charts() -> dict[str, Any]:
    """The charts that stand first, in MLflow's words; MLflow adds its own, one a metric, below."""
    throughput, itl, ttft = ("output_throughput", "median_itl_ms", "median_ttft_ms")
    kinds: tuple[dict[str, Any], ...] = (
        *({"type": "SCATTER", "xaxis": _metric(latency), "yaxis": _metric(throughput)} for latency in (itl, ttft)),
        {"type": "PARALLEL", "selectedParams": ["model.name", "hardware.name"], "selectedMetrics": [throughput, itl]},
    )
    common = {"metricSectionId": VIEW, "deleted": False, "isGenerated": False, "showAllRuns": True}
    return {
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # else MLflow sorts its sections by name
        "compareRunSections": [{"uuid": VIEW, "name": CHARTS, "display": True, "isReordered": True}],
        "compareRunCharts": [{"uuid": f"{VIEW}-{place}", **common, **kind} for place, kind in enumerate(kinds)],
    }


def _metric(key: str) -> dict[str, str]:
    return {"key": key, "type": "METRIC"}


NO_REPORT_YET = "- tables and figures: `vbench analyze experiment=…` puts them here"

EXPERIMENT_TAGS = {
    "mlflow.note.content": f"{ABOUT}\n{NO_REPORT_YET}",
    f"mlflow.sharedViewState.{VIEW}": json.dumps({"selectedColumns": COLUMNS, **_describe_charts()}),
}


def describe_experiment(parts: Sequence[str], report: str, longest: int = LONGEST_NOTE) -> str:
    """A campaign's description: a link to its report, the parts of it that fit, in order, what the columns mean.

    `report` is the link's target, a route of MLflow's pages.
    """
    first = f"Answers, tables and figures to explore: **[Open the report]({report})**"
    end = f"{ABOUT}\n- figures and all tables: among the artifacts of the run named `report`"
    room = longest - len(first) - len(end) - 100  # for the line about what is left out
    fitting: list[str] = []
    for part in parts:
        if len(part) + 2 <= room:
            fitting.append(part)
            room -= len(part) + 2
    left = len(parts) - len(fitting)
    return "\n\n".join([first, *fitting, *([f"({left} longer tables: in the report)"] if left else []), end])
