"""What a person sees of an experiment in MLflow's own pages: its description and the columns of its runs table.

The table shows no metrics by itself. A view stored as an experiment tag does; it is seen at
`#/experiments/ID/runs?workflowType=machine_learning&viewStateShareKey=vbench`. MLflow writes such tags itself when a
view is shared, but does not document them: should a later version read them otherwise, the page is as it was.
"""

from __future__ import annotations

import json

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

EXPERIMENT_TAGS = {
    "mlflow.note.content": (
        "LLM serving benchmarks by vbench: one run is one measured point.\n\n"
        "- `vbench.validity`: VALID; INVALID (measured, not to be trusted: `vbench.reasons`); "
        "FAILED (not measured: `vbench.failure`)\n"
        "- metrics carry the keys of `vllm bench serve`; throughput in tokens a second, latencies in milliseconds\n"
        "- `record.json` among a run's artifacts is the whole truth of it, `requests.npz` the raw samples\n"
        "- tables and figures: `python -m vbench.analysis`\n"
        "- this table with its metric columns: add `?workflowType=machine_learning&viewStateShareKey=vbench` "
        "to this page's address"
    ),
    "mlflow.sharedViewState.vbench": json.dumps({"selectedColumns": COLUMNS}),
}
