"""What bounds a system: one row just at each limit, one just short of it."""

import pytest

from vbench.metrics.bounds import (
    CLIENT,
    COMPUTE,
    FACTS,
    FRONT_END,
    GAUGES,
    KV_CAPACITY,
    OVERHEAD,
    SCHEDULER,
    TOO_FEW,
    WEIGHTS,
    find_bounds,
)

FULL = {"server_max_kv_cache_usage": 0.95, "server_max_requests_waiting": 1.0}
QUEUE = {
    "engine.max_num_seqs": 8,
    "server_max_requests_running": 8.0,
    "server_mean_requests_running": 8.0,
    "server_mean_requests_waiting": 0.81,
}
PREFILL = {"server.peak_prefill_tokens_per_s": 1000.0, "total_input_tokens": 500, "duration": 1.0}
IDLE = {"gpu_mean_utilization": 79.9, "server_mean_requests_waiting": 0.99}
BUSY = {"gpu_mean_utilization": 90.0, "mbu_weights": 0.29}


@pytest.mark.parametrize(
    ("at", "short", "bound"),
    [
        ({"client_busiest_cpu_share": 0.9}, {"client_busiest_cpu_share": 0.899}, CLIENT),
        ({"server_frontend_limited": 0.2}, {"server_frontend_limited": 0.199}, FRONT_END),
        (FULL, {"server_max_kv_cache_usage": 0.949}, KV_CAPACITY),
        (FULL, {"server_max_requests_waiting": 0.0}, KV_CAPACITY),
        (
            FULL | {"server_max_requests_waiting": 0.0, "server_preemptions": 1.0},
            {"server_preemptions": 0.0},
            KV_CAPACITY,
        ),
        (QUEUE, {"server_mean_requests_waiting": 0.8}, SCHEDULER),
        (QUEUE, {"server_max_requests_running": 7.0}, SCHEDULER),
        (QUEUE, {"data_parallel_size": 2}, SCHEDULER),
        (QUEUE, {"server_max_kv_cache_usage": 0.95}, SCHEDULER),
        (PREFILL, {"total_input_tokens": 499}, COMPUTE),
        (PREFILL | {"computed_input_throughput": 500.0}, {"computed_input_throughput": 499.0}, COMPUTE),
        ({"mbu_weights": 0.3}, {"mbu_weights": 0.299}, WEIGHTS),
        (IDLE, {"gpu_mean_utilization": 80.0}, TOO_FEW),
        (IDLE, {"server_mean_requests_waiting": 1.0}, TOO_FEW),
        (IDLE, {"server_frontend_limited": 0.01}, TOO_FEW),
        (BUSY, {"gpu_mean_utilization": 89.9}, OVERHEAD),
        (BUSY, {"mbu_weights": 0.3}, OVERHEAD),
        (BUSY, PREFILL, OVERHEAD),
    ],
)
def test_each_bound_begins_where_it_says(at, short, bound):
    nothing = dict.fromkeys((*GAUGES, *FACTS))
    assert bound in [each.what for each in find_bounds(nothing | at)]
    assert bound not in [each.what for each in find_bounds(nothing | at | short)]
