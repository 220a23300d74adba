"""The fixed taxonomy of failures: why a run has no measurement, in one word to count by.

A permanent failure is a result: the same command would meet it again, so the run is repeated only with `rerun=failed`.
A transient failure says nothing about the run: the same command measures the run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Kind = Literal[
    "infeasible",
    "oom_load",
    "oom_kv",
    "skipped_larger",
    "engine_error",
    "startup_timeout",
    "server_died",
    "gpu_lost",
    "no_gpu",
    "port_taken",
    "unreachable",
    "client_failed",
    "variable_unset",
    "oom_host",
    "node_failed",
    "time_limit",
    "preempted",
    "cancelled",
]

MEANING: Mapping[Kind, str] = {
    "infeasible": "certain to fail, so nothing was started",
    "oom_load": "the engine ran out of memory while it loaded, profiled, captured graphs, or served a run's load",
    "oom_kv": "the model fits, but not the KV cache for one request of max_model_len",
    "skipped_larger": "not started: a smaller demand on the same model and hardware ran out of memory",
    "engine_error": "the engine refused the model or its options, or failed on its own",
    "startup_timeout": "the server was not ready within engine.start_timeout_s",
    "server_died": "the server ended or stopped answering, without a reason in its log",
    "gpu_lost": "a GPU, its driver or a link between GPUs failed, or another process holds its memory",
    "no_gpu": "SLURM gave the job its GPUs, but the node has none of the kind that `hardware` names",
    "port_taken": "another process listens on the server's port",
    "unreachable": "engine.base_url, or the hub that the engine loads from, does not answer",
    "client_failed": "a load process of vbench died",
    "variable_unset": "a variable that engine.env_from or engine.api_key_env names is not set where the session runs",
    "oom_host": "the job used more of its node's memory than it asked for (hardware.slurm.mem_gib_per_gpu)",
    "node_failed": "the job's node failed, or no longer answered its scheduler",
    "time_limit": "the job reached its time limit",
    "preempted": "the scheduler gave the job's resources to another job",
    "cancelled": "the job was cancelled",
}

PERMANENT: frozenset[Kind] = frozenset({"infeasible", "oom_load", "oom_kv", "skipped_larger", "engine_error", "no_gpu"})
TRANSIENT: frozenset[Kind] = frozenset(MEANING) - PERMANENT
OUT_OF_MEMORY: frozenset[Kind] = frozenset({"oom_load", "oom_kv"})
