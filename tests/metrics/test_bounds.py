"""What bounds a system: one row just at each limit, one just short of it."""

import pytest

from vbench.metrics.bounds import (
    CLIENT,
    COMPUTE,
    EXTERNAL,
    FACTS,
    FOREIGN,
    FRONT_END,
    GAUGES,
    HOST_CPU,
    KV_CAPACITY,
    OVERHEAD,
    SCHEDULER,
    TOO_FEW,
    WEIGHTS,
    describe_row,
    describe_server,
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
CORES = {  # as a CPU engine's record has them
    "gpus": 0,
    "host_cpu_busy_share": 0.97,
    "host_cpu_others_share": 0.03,
    "host_cpu_client_share": 0.02,
    "host_cpu_stolen_share": 0.01,
}
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
        (QUEUE, {"attention_data_parallel_size": 2}, SCHEDULER),
        (QUEUE, {"server_max_kv_cache_usage": 0.95}, SCHEDULER),
        (PREFILL, {"total_input_tokens": 499}, COMPUTE),
        (PREFILL | {"computed_input_throughput": 500.0}, {"computed_input_throughput": 499.0}, COMPUTE),
        ({"mbu_weights": 0.3}, {"mbu_weights": 0.299}, WEIGHTS),
        (CORES, {"host_cpu_busy_share": 0.95}, HOST_CPU),
        (CORES, {"host_cpu_others_share": 0.05}, HOST_CPU),
        (CORES, {"host_cpu_client_share": 0.04}, HOST_CPU),
        (CORES, {"host_cpu_stolen_share": 0.03}, HOST_CPU),
        (CORES, {"gpus": 1}, HOST_CPU),
        (CORES, {"host_cpu_others_share": None}, HOST_CPU),
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


def test_of_a_server_that_is_not_vllms_own_nothing_is_concluded_but_what_the_host_tells():
    nothing = dict.fromkeys((*GAUGES, *FACTS))
    row = nothing | BUSY | FULL | QUEUE | PREFILL | {"server_frontend_limited": 0.5, "engine_version": "vllm 0.32.0"}
    assert find_bounds(row)
    assert find_bounds(row | {"engine_version": "unknown"}) == find_bounds(row)  # vLLM that could not be asked
    foreign = row | {"engine_version": "not vLLM: fake_vllm.py"}
    assert find_bounds(foreign) == []
    assert describe_row(foreign) == FOREIGN
    assert [each.what for each in find_bounds(foreign | CORES)] == [HOST_CPU]
    assert [each.what for each in find_bounds(foreign | {"client_busiest_cpu_share": 0.95})] == [CLIENT]


def test_of_an_external_server_its_own_counters_count_and_the_rest_is_said_to_be_unseen():
    nothing = dict.fromkeys((*GAUGES, *FACTS))
    row = nothing | FULL | {"engine_version": "sglang 0.5", "engine.base_url": "http://host:8000"}
    assert [each.what for each in find_bounds(row)] == [KV_CAPACITY]
    assert describe_server(row) == EXTERNAL
