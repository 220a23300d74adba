"""What a person sees of an experiment in MLflow's own pages: its description and the columns of its runs table.

The table shows no metrics by itself. A view stored as an experiment tag does; it is seen at
`#/experiments/ID/runs?workflowType=machine_learning&viewStateShareKey=vbench`. MLflow writes such tags itself when a
view is shared, but does not document them: should a later version read them otherwise, the page is as it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

VIEW = "vbench"  # the shared view that has our columns
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
    "steady_output_throughput",  # says little without the next: how many seconds it is of
    "steady_duration",
)

COLUMNS = (
    "tags.`vbench.validity`",
    "params.`model.name`",
    "params.`hardware.name`",
    "params.`parallelism.name`",
    "params.`workload.num_prompts`",
    *(f"metrics.`{key}`" for key in HEADLINES[:7]),
    "tags.`vbench.reasons`",
    "tags.`vbench.failure`",
)

ABOUT = (
    "LLM serving benchmarks by vbench: one run is one measured point.\n\n"
    "- `vbench.validity`: VALID; INVALID (measured, not to be trusted: `vbench.reasons`); "
    "FAILED (not measured: `vbench.failure`)\n"
    "- metrics carry the keys of `vllm bench serve`; throughput in tokens a second, latencies in milliseconds\n"
    "- `record.json` among a run's artifacts is the whole truth of it, `requests.npz` the raw samples\n"
    "- group the runs by the tags `vbench.session` (one server) or `vbench.point` (one load on it, all repeats)\n"
    "- this table with its metric columns: add `?workflowType=machine_learning&viewStateShareKey=vbench` "
    "to this page's address"
)
UNTOLD = "- tables and figures: `python -m vbench.analysis experiment=…` puts them here"

EXPERIMENT_TAGS = {
    "mlflow.note.content": f"{ABOUT}\n{UNTOLD}",
    f"mlflow.sharedViewState.{VIEW}": json.dumps({"selectedColumns": COLUMNS}),
}


def described(parts: Sequence[str], longest: int = LONGEST_NOTE) -> str:
    """A campaign's description: those parts of its report for which there is room, in order, then what it is."""
    end = f"{ABOUT}\n- figures and all tables: among the artifacts of the run named `report`"
    room = longest - len(end) - 100  # for what is left out
    fitting: list[str] = []
    for part in parts:
        if len(part) + 2 <= room:
            fitting.append(part)
            room -= len(part) + 2
    left = len(parts) - len(fitting)
    return "\n\n".join([*fitting, *([f"({left} longer tables: in the report)"] if left else []), end])
