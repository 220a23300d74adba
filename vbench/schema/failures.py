"""The fixed taxonomy of failures: why a run has no measurement, in one word to count by.

A lasting failure is an answer: the same command would find it again, so it stands until `rerun=failed` asks anew.
A passing one says nothing of the run: the same command takes the run up again.
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
    "port_taken",
    "unreachable",
    "client_failed",
    "time_limit",
    "preempted",
    "cancelled",
]

MEANING: Mapping[Kind, str] = {
    "infeasible": "certain not to work, before anything was started",
    "oom_load": "the engine ran out of memory while it loaded, profiled, captured graphs, or bore the load of a run",
    "oom_kv": "the model fits, but not the KV cache that one request of max_model_len needs",
    "skipped_larger": "not started: a weaker demand on the same model and hardware ran out of memory",
    "engine_error": "the engine refused the model or its options, or failed by a fault of its own",
    "startup_timeout": "the server was not ready within engine.start_timeout_s",
    "server_died": "the server ended or stopped answering, killed or for a reason that it does not tell",
    "gpu_lost": "a GPU, its driver or a link between GPUs failed, or another process holds its memory",
    "port_taken": "another process holds the server's port, or answers on it",
    "unreachable": "nobody answers at engine.base_url, or the hub that the engine loads from",
    "client_failed": "a load process of vbench's own was lost",
    "time_limit": "the job reached its time limit",
    "preempted": "the scheduler took the job's resources for another",
    "cancelled": "the job was cancelled",
}

LASTING: frozenset[Kind] = frozenset({"infeasible", "oom_load", "oom_kv", "skipped_larger", "engine_error"})
PASSING: frozenset[Kind] = frozenset(MEANING) - LASTING
OF_MEMORY: frozenset[Kind] = frozenset({"oom_load", "oom_kv"})
