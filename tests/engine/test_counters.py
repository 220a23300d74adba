from vbench.engine.counters import compute_changes, parse, parse_cache_config, parse_hit_shares

TEXT = """# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m"} 40.0
vllm:generation_tokens_total{engine="1",model_name="m"} 2.0
vllm:num_requests_running{engine="0",model_name="m"} 3.0
python_gc_objects_collected_total{generation="0"} 9
"""


def test_engines_are_summed_and_strangers_left_out():
    assert parse(TEXT) == {"generation_tokens": 42.0, "requests_running": 3.0}


def test_the_use_of_several_caches_is_their_mean_and_that_of_the_fullest():
    two = "".join(f'vllm:kv_cache_usage_perc{{engine="{engine}"}} {use}\n' for engine, use in ((0, 0.2), (1, 0.8)))
    assert parse(two) == {"kv_cache_usage": 0.5, "kv_cache_fullest": 0.8}


def test_change_is_of_counters_that_both_sides_have():
    assert compute_changes({"generation_tokens": 2.0, "requests_running": 1.0}, parse(TEXT)) == {
        "server_generation_tokens": 40.0
    }


def test_requests_that_finished_are_counted_whatever_ended_them():
    name = "vllm:request_success_total"
    page = f'{name}{{finished_reason="stop"}} 3.0\n{name}{{finished_reason="length"}} 4.0\n{name}_created 9\n'
    assert parse(page) == {"requests_finished": 7.0}


def test_labels_may_hold_any_text_and_samples_a_time():
    odd = 'vllm:num_requests_running{model_name="a } b \\" c"} 3.0 1700000000000\nvllm:num_requests_running 1\n'
    assert parse(odd) == {"requests_running": 4.0}


def test_numbers_are_read_however_they_are_written_and_what_is_none_leaves_the_sum_unknown():
    tokens = "vllm:generation_tokens_total"
    page = f'{tokens}{{engine="0"}} 1.25e+06\n{tokens}{{engine="1"}} 5E2\nvllm:num_preemptions_total 0\n'
    assert parse(page) == {"generation_tokens": 1_250_500.0, "preemptions": 0.0}
    for word in ("NaN", "+Inf", "-Inf"):
        assert parse(f'{page}{tokens}{{engine="2"}} {word}\n') == {"preemptions": 0.0}


def test_a_longer_name_is_another_series():
    assert parse("vllm:num_requests_waiting_by_reason 5\nvllm:num_requests_waiting 2\n") == {"requests_waiting": 2.0}


def test_a_page_that_is_no_metrics_has_none():
    assert parse("<html><body>vllm:</body></html>") == parse("vllm:num_requests_running{ 3\n") == {}


def test_the_settings_of_each_engine_s_cache_are_read_from_labels():
    page = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="300",engine="0"} 1.0\n'
    assert parse_cache_config(page) == [{"block_size": "16", "num_gpu_blocks": "300", "engine": "0"}]
    assert parse_cache_config(TEXT) == []


def test_the_share_of_hits_is_told_for_each_engine_that_was_asked():
    def page(*counts):
        return "".join(
            f'vllm:prefix_cache_queries_total{{engine="{engine}"}} {queries}\n'
            f'vllm:prefix_cache_hits_total{{engine="{engine}"}} {hits}\n'
            for engine, (queries, hits) in enumerate(counts)
        )

    before, after = page((100, 50), (0, 0), (7, 7)), page((300, 150), (80, 20), (7, 7))
    assert parse_hit_shares(before, after) == [0.5, 0.25]
    assert parse_hit_shares("", after) == []


def test_the_engine_s_own_estimates_are_kept_where_it_exports_them():
    page = "vllm:estimated_flops_per_gpu_total{} 1e12\nvllm:estimated_read_bytes_per_gpu_total{} 5e9\n"
    found = compute_changes(parse(""), parse(page)) | compute_changes(dict.fromkeys(parse(page), 0.0), parse(page))
    assert found == {"server_estimated_flops_per_gpu": 1e12, "server_estimated_read_bytes_per_gpu": 5e9}


def test_each_engines_hits_are_those_of_its_own_labels_in_whatever_order_a_page_lists_them():
    def page(engines):
        return "".join(
            f'vllm:prefix_cache_{what}_total{{engine="{name}",model_name="m"}} {value}\n'
            for what, place in (("queries", 0), ("hits", 1))
            for name, values in engines.items()
            for value in [values[place]]
        )

    before = page({"0": (100, 10), "1": (100, 90)})
    assert parse_hit_shares(before, page({"0": (200, 20), "1": (200, 180)})) == [0.1, 0.9]
    assert parse_hit_shares(before, page({"1": (200, 180), "0": (200, 20)})) == [0.1, 0.9]
    assert parse_hit_shares(page({"1": (100, 90)}), page({"0": (100, 10), "1": (200, 180)})) == [0.1, 0.9]
    assert parse_hit_shares("", before) == []
