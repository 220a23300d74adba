"""What bounds a system, decided from everything that was recorded of a run: one way for records and comparisons. Pure.

The words are those of predictions too. If several bounds apply, what delays requests before they reach the
GPUs is named first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vbench.metrics.validity import LIMITED_SHARE
from vbench.schema.model import UNKNOWN

if TYPE_CHECKING:
    from vbench.schema.record import Record

WEIGHTS = "weights bandwidth"
KV_BANDWIDTH = "KV bandwidth"
COMPUTE = "prefill compute"  # FLOPs: nearly all of them are of prompts
COMMUNICATION = "communication"
KV_CAPACITY = "KV capacity"
SCHEDULER = "scheduler limit"
FRONT_END = "front end"
CLIENT = "client"
HOST_CPU = "host CPU"
OVERHEAD = "step overhead"  # scheduling, sampling and launching kernels
TOO_FEW = "too few requests"
NOT_TOLD = "not told"

FULL = 0.95  # of the KV cache
BUSY = 0.9  # of a core of the load client
MOST = 0.5  # of the run
QUEUED = 0.1  # requests that wait for each one that runs
LARGE = 0.3  # of the run, at what the data sheet says: kernels reach some two thirds of it
IDLE, WORKING = 80.0, 90.0  # percent of the run in which NVML saw a kernel on the GPUs

SHARES = {  # of a run, at the data sheet's speed; see metrics.reach
    "mbu_weights": (WEIGHTS, "reading weights"),
    "mbu_kv": (KV_BANDWIDTH, "reading the KV cache"),
    "mfu": (COMPUTE, "the FLOPs"),
    "link_share": (COMMUNICATION, "all-reduces"),
}
GAUGES = (
    *("server_frontend_limited", "server_max_frontend_loop", "client_busiest_cpu_share", "gpu_mean_utilization"),
    *("server_max_kv_cache_usage", "server_preemptions", "server_mean_requests_waiting"),
    *("server_mean_requests_running", "server_max_requests_waiting", "server_max_requests_running"),
    *("host_cpu_busy_share", "host_cpu_others_share", "host_cpu_client_share", "host_cpu_stolen_share"),
    *("server.peak_prefill_tokens_per_s", "total_input_tokens", "computed_input_throughput", "duration", *SHARES),
)
ENGINES = ("data_parallel_size", "attention_data_parallel_size")  # each of them schedules for itself
FACTS = ("engine.max_num_seqs", *ENGINES, "gpus", "engine_version", "engine.base_url")
EXTERNAL = "little is visible of a server that vbench did not start"
FOREIGN = "it is not vLLM's own server, and what it tells of itself is not judged"


@dataclass(frozen=True)
class Bound:
    """What bounds a system, and the recorded numbers that say so."""

    what: str
    grounds: str


def find_bounds(row: Mapping[str, Any]) -> list[Bound]:
    """Everything recorded that was at its limit, by GAUGES and FACTS; empty if nothing was.

    Of a server that is not vLLM's own, only what the host tells counts.
    """
    rules = BY_HOST if describe_server(row) == FOREIGN else RULES
    found = [bound for rule in rules if (bound := rule(row))]
    return list({bound.what: bound for bound in reversed(found)}.values())[::-1]  # of two grounds for one, the first


def find_bound(record: Record) -> Bound | None:
    """What bounds a run: the first of `find_bounds`, else NOT_TOLD and what was looked at; None without a load."""
    if record.failure or not record.metrics.get("total_output_tokens"):
        return None
    row = read_row(record)
    found = find_bounds(row)
    return found[0] if found else Bound(NOT_TOLD, describe_row(row))


def read_row(record: Record) -> dict[str, Any]:
    """GAUGES and FACTS of a record, None where it has none."""
    config = record.config
    facts = {
        "server.peak_prefill_tokens_per_s": record.server.get("peak_prefill_tokens_per_s"),
        "engine.max_num_seqs": config.get("engine", {}).get("max_num_seqs"),
        **{size: config.get("parallelism", {}).get(size) for size in ENGINES},
        "gpus": config.get("hardware", {}).get("gpus"),
        "engine_version": record.environment.get("engine"),
        "engine.base_url": config.get("engine", {}).get("base_url"),
    }
    return dict.fromkeys((*GAUGES, *FACTS)) | record.metrics | facts


def _client(row: Mapping[str, Any]) -> Bound | None:
    share = _number(row, "client_busiest_cpu_share")
    if not share >= BUSY:
        return None
    return Bound(CLIENT, f"a process of the load client used {share:.0%} of a core: the server may bear more")


def _front_end(row: Mapping[str, Any]) -> Bound | None:
    share = _number(row, "server_frontend_limited")
    if not share >= LIMITED_SHARE:
        return None
    return Bound(
        FRONT_END,
        f"the event loop of a front end (an HTTP process of the server) filled a core for {share:.0%} of the run",
    )


def _kv_cache(row: Mapping[str, Any]) -> Bound | None:
    usage, waiting = _number(row, "server_max_kv_cache_usage"), _number(row, "server_max_requests_waiting")
    preempted = _number(row, "server_preemptions")
    if not (usage >= FULL and (waiting > 0 or preempted > 0)):
        return None
    told = [f"up to {waiting:,.0f} requests waited"] if waiting > 0 else []
    told += [f"{preempted:,.0f} preemptions"] if preempted > 0 else []
    return Bound(KV_CAPACITY, f"the KV cache was {usage:.0%} full while {' and '.join(told)}")


def _scheduler(row: Mapping[str, Any]) -> Bound | None:
    if _number(row, "server_max_kv_cache_usage") >= FULL or not _is_queued(row):
        return None
    limit = _number(row, "engine.max_num_seqs") * math.prod(max(1.0, _number(row, size)) for size in ENGINES)
    running, waiting = _number(row, "server_max_requests_running"), _number(row, "server_mean_requests_waiting")
    if not running >= limit:
        return None
    return Bound(SCHEDULER, f"max_num_seqs lets {limit:,.0f} run, {waiting:,.0f} waited on average")


def _prefill(row: Mapping[str, Any]) -> Bound | None:
    share = _prefill_share(row)
    if not share >= MOST:
        return None
    rate, computed = _number(row, "server.peak_prefill_tokens_per_s"), _prefill_rate(row)
    return Bound(
        COMPUTE,
        f"the engine computed {computed:,.0f} prompt tokens a second, {share:.0%} of the {rate:,.0f} seen alone",
    )


def _hardware(row: Mapping[str, Any]) -> Bound | None:
    shares = {key: share for key in SHARES if not math.isnan(share := _number(row, key))}
    if not shares or not max(shares.values()) >= LARGE:
        return None
    largest = max(shares, key=lambda key: shares[key])
    what, named = SHARES[largest]
    return Bound(what, f"at the data sheet's speed {named} alone would fill {shares[largest]:.0%} of the run")


def _host_cpu(row: Mapping[str, Any]) -> Bound | None:
    """Of a server on CPUs: beside GPUs a thread may fill a core by polling them."""
    others = [_number(row, f"host_cpu_{name}_share") for name in ("others", "client", "stolen")]
    share = _number(row, "host_cpu_busy_share") - sum(others)
    if _number(row, "gpus") != 0 or not share >= BUSY:
        return None
    return Bound(HOST_CPU, f"the server itself used {share:.0%} of the time of its cores")


def _too_few(row: Mapping[str, Any]) -> Bound | None:
    busy, waiting = _number(row, "gpu_mean_utilization"), _number(row, "server_mean_requests_waiting")
    if not busy < IDLE or waiting >= 1 or _number(row, "server_frontend_limited") > 0:
        return None
    running = _number(row, "server_mean_requests_running")
    return Bound(TOO_FEW, f"the GPUs were busy for {busy:.0f} % of the run, {running:,.1f} requests ran, none waited")


def _overhead(row: Mapping[str, Any]) -> Bound | None:
    shares = [share for key in SHARES if not math.isnan(share := _number(row, key))]
    busy = _number(row, "gpu_mean_utilization")
    if not shares or not busy >= WORKING or max(shares) >= LARGE or _prefill_share(row) >= MOST:
        return None
    told = f"the GPUs were busy for {busy:.0f} % of the run (NVML), but at the data sheet's speed weights, KV cache, "
    return Bound(OVERHEAD, f"{told}FLOPs and all-reduces take {max(shares):.0%} of it at most each")


RULES: tuple[Callable[[Mapping[str, Any]], Bound | None], ...] = (
    _client, _front_end, _kv_cache, _scheduler, _host_cpu, _too_few, _hardware, _prefill, _overhead,
)  # fmt: skip
BY_HOST = (_client, _host_cpu)


def _is_queued(row: Mapping[str, Any]) -> bool:
    return _number(row, "server_mean_requests_waiting") > QUEUED * _number(row, "server_mean_requests_running")


def describe_server(row: Mapping[str, Any]) -> str:
    """Why little can be told of the server: FOREIGN, EXTERNAL, or "" of vLLM that vbench started."""
    if _is_text(row["engine.base_url"]):
        return EXTERNAL
    version = row["engine_version"]
    return FOREIGN if _is_text(version) and not version.startswith(("vllm", UNKNOWN)) else ""


def describe_row(row: Mapping[str, Any]) -> str:
    """What was recorded of a system of which nothing was at its limit."""
    shares = {
        "event loop of the server's busiest HTTP process at most": "server_max_frontend_loop",
        "KV cache at most": "server_max_kv_cache_usage",
        "load client": "client_busiest_cpu_share",
    }
    told = [f"{name} {value:.0%}" for name, key in shares.items() if not math.isnan(value := _number(row, key))]
    if not math.isnan(busy := _number(row, "gpu_mean_utilization")):
        told.append(f"GPUs busy {busy:.0f} % (NVML, which does not say with what)")
    if _is_queued(row):
        waiting = _number(row, "server_mean_requests_waiting")
        told.append(f"{waiting:,.0f} requests waited on average, for prefill or the scheduler")
    told = [describe_server(row)] if describe_server(row) == FOREIGN else told
    return "; ".join(told) or "nothing was recorded"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _number(row: Mapping[str, Any], key: str) -> float:
    try:
        return float(row[key])
    except (TypeError, ValueError):
        return math.nan


def _prefill_share(row: Mapping[str, Any]) -> float:
    """The speed at which prompt tokens were computed, of the speed without other work.

    The rehearsal saw that; NaN if it is unknown.
    """
    rate = _number(row, "server.peak_prefill_tokens_per_s")
    return _prefill_rate(row) / rate if rate > 0 else math.nan


def _prefill_rate(row: Mapping[str, Any]) -> float:
    """Prompt tokens computed a second: those that no prefix cache had."""
    computed = _number(row, "computed_input_throughput")
    return _number(row, "total_input_tokens") / _number(row, "duration") if math.isnan(computed) else computed
