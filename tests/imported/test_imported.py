"""Results of vLLM's benchmark become records: what they say is kept, what they do not say is not made up."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import numpy as np
import pytest
import results

from vbench import compose, imported
from vbench.metrics.definitions import metrics
from vbench.schema.errors import Refused

TREE = "results/prompt_320/1xH100-80GB-SXM/Mistral-7B-Instruct-v0.3_tp1_len2000.json"
CATALOGUE = imported.Catalogue(compose.known_models(), compose.known_gpus())
WRITTEN = datetime(2026, 1, 2, tzinfo=timezone.utc)


def read(result, path=TREE, pattern=imported.PATTERN, experiment="imported"):
    facts = imported.match_path(path, imported.compile_pattern(pattern))
    return imported.convert(result, imported.Source(facts, WRITTEN, experiment), CATALOGUE)


def codes(reasons):
    return [reason.code for reason in reasons]


# ---- what a summary says


def test_a_summary_in_a_tree_becomes_a_record_with_the_trees_and_the_files_facts():
    record = read(results.summary()).record
    assert record.name == "mistral7b · 1xh100 · tp1 · n320"
    assert record.config["hardware"]["gpus"] == 1
    assert record.config["hardware"]["gpu"]["memory_mib"] == 81559  # conf/ knows this chip
    assert record.config["model"]["num_hidden_layers"] == 32  # and this model
    assert record.config["parallelism"] == {"tensor_parallel_size": 1}
    assert record.config["engine"] == {"max_model_len": 2000}
    assert record.config["workload"] == {"num_prompts": 320, "request_rate": "inf"}
    assert "gpus" not in record.environment  # as the driver names them: nobody has asked it
    assert record.source == "imported"
    assert record.verdict == "VALID"


def test_numbers_are_kept_under_vllms_keys_and_nothing_else_is_a_metric():
    given = results.summary()
    numbers = {key: value for key, value in given.items() if isinstance(value, float) or key.startswith("total_")}
    found = read(given).record.metrics
    assert found == numbers | {"completed": 320}
    assert {"input_throughput", "request_throughput", "p99_itl_ms"} <= set(found)


def test_the_date_is_the_files_own_and_is_when_the_load_had_ended():
    record = read(results.summary(duration=65.0)).record
    assert record.ended_at == "2024-08-19T06:19:05+00:00"
    assert record.started_at == "2024-08-19T06:18:00+00:00"
    assert codes(record.warnings) == ["summary_only"]


def test_a_file_without_a_date_has_the_time_at_which_it_was_written_and_says_so():
    record = read({"reason": "it did not start"}).record
    assert record.started_at == record.ended_at == WRITTEN.isoformat()
    assert codes(record.warnings) == ["undated"]


def test_what_neither_file_nor_path_says_is_not_in_the_config():
    record = read(results.summary(), path="somewhere/vllm-infqps-20240819.json").record
    assert set(record.config) == {"model", "workload", "experiment"}
    assert record.name == "mistral7b · n320"
    assert "engine" not in record.environment


def test_where_path_and_file_disagree_the_file_counts_and_the_record_says_so():
    record = read(results.summary(num_prompts=160)).record
    assert record.config["workload"]["num_prompts"] == 160
    assert "path_disagrees" in codes(record.warnings)


def test_a_pattern_of_ones_own_reads_other_trees():
    pattern = r"(?P<gpu>\w+)-x(?P<gpus>\d)/v(?P<engine_version>[\d.]+)/tp(?P<tensor_parallel_size>\d)"
    record = read(results.summary(), path="/data/L40S-x4/v0.6.3/tp4/run.json", pattern=pattern).record
    assert record.name == "mistral7b · 4xl40s · tp4 · n320"
    assert record.environment["engine"] == "0.6.3"


@pytest.mark.parametrize(
    ("pattern", "word"),
    [("(?P<gpus>[", "not a regular expression"), ("(?P<colour>.)", "colour"), (r"prompt_(\d+)", "no named group")],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern, word):
    with pytest.raises(Refused, match=word):
        imported.compile_pattern(pattern)


# ---- names


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("H100-80GB-SXM", "h100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("A100-80GB-SXM", "a100"),
        ("H200-141GB-SXM", "h200"),
        ("L40S", "l40s"),
        ("H100-80GB-PCIe", None),
        ("A100-40GB-SXM", None),
        ("H100-NVL", None),
        ("MI250X", None),
    ],
)
def test_a_gpu_is_one_of_confs_only_where_every_word_of_its_name_fits(given, name):
    known = CATALOGUE.find_gpu(given)
    assert (known.name if known else None) == name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral7b"),
        ("Mistral-7B-Instruct-v0.3", "mistral7b"),
        ("/models/Mistral-7B-Instruct-v0.3/", "mistral7b"),
        ("somebody/Mistral-7B-Instruct-v0.3", None),
        ("facebook/opt-125m", None),
    ],
)
def test_a_model_is_one_of_confs_by_its_hub_id_or_by_the_last_part_of_it(given, name):
    known = CATALOGUE.find_model(given)
    assert (known.name if known else None) == name


def test_unknown_models_and_gpus_keep_their_own_names():
    path = "prompt_10/2xMI250X/opt-125m_tp2_len2048.json"
    record = read(results.summary("facebook/opt-125m", num_prompts=10), path=path).record
    assert record.name == "opt-125m · 2xMI250X · tp2 · n10"
    assert record.config["model"] == {"name": "opt-125m", "hub_id": "facebook/opt-125m"}
    assert record.config["hardware"]["gpu"] == {"name": "MI250X"}
    assert record.environment["gpus"] == ["MI250X", "MI250X"]


# ---- failures


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.50 GiB", "oom_load"),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "oom_kv"),
        ("max seq len (128000) is larger than the maximum number of tokens that can be stored in KV cache", "oom_kv"),
        ("ValueError: 40 heads cannot be divided over 3 GPUs", "engine_error"),
        ("no idea", "engine_error"),
    ],
)
def test_a_reason_is_a_failure_whose_kind_is_read_from_its_text(reason, kind):
    record = read({"reason": reason}).record
    assert record.verdict == "FAILED"
    assert record.failure.kind == kind
    assert record.failure.line == reason
    assert record.config["workload"] == {"num_prompts": 320}


def test_the_same_reason_at_another_place_is_another_run_and_at_the_same_place_the_same():
    first, other = read({"reason": "out of memory"}), read({"reason": "out of memory"}, path=TREE.replace("320", "80"))
    assert first.record.run_key != other.record.run_key
    assert first.record.run_key == read({"reason": "out of memory"}, path=f"/mnt/copy/{TREE}").record.run_key


# ---- sweeps


def test_a_sweeps_result_has_its_options_and_its_warm_up_is_no_measurement():
    swept = {"run_number": 0, "max-num-seqs": 64, "tensor_parallel_size": 2, "block-size": 32, "_benchmark_name": "b"}
    record = read(results.summary(**swept), path="sweep/SERVE--x/run=0.json").record
    assert record.config["engine"] == {"max_num_seqs": 64, "block_size": 32}
    assert record.config["parallelism"] == {"tensor_parallel_size": 2}
    assert read(results.summary(run_number=-1), path="sweep/SERVE--x/warmup.json") is None


def test_what_the_server_said_of_each_request_is_no_option_of_a_sweep():
    swept = {"run_number": 0, "block-size": 32}
    said = {"server_queue_times": [0.001, None], "server_ttfts": [0.02, None]}  # of vLLM 0.33, with --save-detailed
    with_them, without = (read(results.summary(**swept, **more)).record for more in (said, {}))
    assert with_them.config == without.config
    assert (with_them.session, with_them.metrics) == (without.session, without.metrics)


def test_a_sweeps_failure_is_a_failure_with_the_options_that_it_had():
    failure = {
        "run_number": 0,
        "error_type": "CalledProcessError",
        "error": "torch.OutOfMemoryError: CUDA out of memory.",
        "serve_overrides": {"max-model-len": 32000, "model": "Qwen/Qwen3-8B"},
        "bench_overrides": {"num_prompts": 80},
    }
    record = read(failure, path="sweep/SERVE--x/run=0.failure.json").record
    assert record.failure.kind == "oom_load"
    assert record.config["engine"] == {"max_model_len": 32000}
    assert record.name == "qwen3_8b · n80"


# ---- arrays


def test_arrays_are_rebuilt_so_that_the_files_numbers_come_out_again():
    rng = np.random.default_rng(7)
    replies = [(float(rng.uniform(0.1, 1)), rng.uniform(0.01, 0.03, n - 1).tolist(), n) for n in (2, 5, 40, 64)]
    given = results.detailed(replies)
    found = read(given)
    again = metrics(found.requests)
    theirs = [key for key in given if key.endswith("_ms")]
    assert len(theirs) == 12
    assert {key: again[key] for key in theirs} == pytest.approx({key: given[key] for key in theirs})
    assert again["output_throughput"] == pytest.approx(given["output_throughput"])
    ends = [1e3 * (first + sum(gaps)) for first, gaps, _ in replies]
    assert found.record.metrics["median_e2el_ms"] == pytest.approx(np.median(ends))  # the file did not have it
    assert found.record.metrics["median_itl_ms"] == given["median_itl_ms"]
    assert "p90_itl_ms" not in found.record.metrics  # nor is ours put beside theirs
    assert "mean_queue_ms" not in found.record.metrics  # no file says when requests were due


def test_an_empty_reply_has_no_ttft_and_the_zero_in_the_files_is_flagged():
    found = read(results.detailed([(0.5, [0.1, 0.1], 3), (0.0, [], 0)]))
    assert codes(found.record.warnings) == ["path_disagrees", "zero_ttft"]
    assert found.record.metrics["empty"] == 1
    assert found.record.metrics["mean_ttft_ms"] == 500  # the file says 250
    assert metrics(found.requests)["mean_ttft_ms"] == 500


def test_tokens_merged_into_chunks_are_flagged_and_shared_out():
    found = read(results.detailed([(0.5, [0.2, 0.2], 9)]))
    assert "chunk_itl" in codes(found.record.warnings)
    assert found.requests.chunk_tokens.tolist() == [3, 3, 3]
    found = found.record.metrics  # the file's ITL is the gap of chunks
    assert (found["median_chunk_gap_ms"], found["median_itl_ms"]) == pytest.approx((200, 200 / 3))


def test_a_zero_that_stands_for_no_sample_is_left_out_and_flagged():
    one_token_each = results.detailed([(0.5, [], 1), (0.6, [], 1)])
    assert one_token_each["median_itl_ms"] == 0
    record = read(one_token_each).record
    assert not {key for key in record.metrics if "_itl_" in key or "_tpot_" in key}
    assert "no_samples" in codes(record.warnings)
    assert record.metrics["mean_ttft_ms"] == pytest.approx(550)


def test_start_times_place_requests_and_without_them_a_paced_load_is_not_rebuilt():
    paced = results.detailed([(0.5, [0.1], 2), (0.5, [0.1], 2)], request_rate=2.0, burstiness=1.0, max_concurrency=None)
    assert read(paced).requests is None
    found = read(paced | {"start_times": [7000.0, 7000.5], "queue_times": [0.0, 0.0]})
    assert found.requests.sent.tolist() == [0, 0.5]
    assert found.record.metrics["mean_queue_ms"] == 0
    assert found.record.config["workload"]["max_concurrency"] is None


def test_failed_requests_make_a_run_invalid_as_they_do_one_of_ours():
    failed = results.detailed([(0.5, [0.1], 2), (0.0, [], 0)], completed=1, errors=["", "Traceback\n  x\nTimeoutError"])
    found = read(failed)
    assert codes(found.record.invalid) == ["failed_requests"]
    assert found.requests.error.tolist() == ["", "TimeoutError"]
    assert codes(read(results.summary(completed=300)).record.invalid) == ["failed_requests"]


# ---- what numbers of vLLM's benchmark hide (each seen with vllm 0.32.0)


def chat(*replies, **changes):
    """A file from a chat endpoint: the chunk with the role comes first, 0.1 ms before the first token."""
    with_role = [(first - 1e-4, [1e-4, *gaps], tokens) for first, gaps, tokens in replies]
    return results.detailed(with_role, backend="openai-chat", max_concurrency=None, **changes)


def test_probes_that_stretch_the_duration_make_the_rates_untrue():
    probed = {"duration": 10.06, "request_rate": "inf", "latencies": [0.056, 0.055], "queue_times": [0.0, 0.0]}
    probed |= {"probe_completed": 2, "completed": 2, "num_prompts": 2}
    (reason,) = read(results.summary() | probed).record.invalid
    assert reason.code == "stretched_duration"
    assert "10.06 s, but the requests took 0.06 s: its probes" in reason.sentence
    assert read(results.summary() | probed | {"duration": 0.06}).record.invalid == []
    queued = {"latencies": [1.0] * 10, "queue_times": [float(place) for place in range(10)]}  # max_concurrency=1
    assert read(results.summary() | probed | queued | {"duration": 10.06}).record.invalid == []
    replayed = {key: value for key, value in probed.items() if key != "probe_completed"}  # a trace: request_rate inf
    assert read(results.summary() | replayed).record.invalid == []


def test_probes_that_may_have_waited_for_a_connection_of_the_load_are_told():
    probed = {"probe_completed": 20, "probe_median_e2el_ms": 1900.0}
    record = read(results.summary(max_concurrency=2) | probed).record
    (reason,) = (each for each in record.warnings if each.code == "queued_probes")
    assert "through the 2 connections of the load" in reason.sentence
    assert record.metrics["probe_median_e2el_ms"] == 1900.0
    for free in (results.summary(max_concurrency=None) | probed, results.summary(max_concurrency=2)):
        assert "queued_probes" not in codes(read(free).record.warnings)


@pytest.mark.parametrize(("duration", "codes_"), [(2.056, []), (5.0, []), (30.0, ["stretched_duration"])])
def test_the_gap_before_the_first_request_is_no_stretched_duration(duration, codes_):
    replies = [(0.05, [0.005], 2)] * 4
    times = {"start_times": [9.5, 10.0, 10.5, 11.0], "latencies": [0.055] * 4, "queue_times": [0.0] * 4}
    given = results.detailed(replies, duration=duration, request_rate=2.0, max_concurrency=None, **times)
    assert codes(read(given).record.invalid) == codes_


def test_a_reply_that_an_error_ended_has_more_chunks_than_tokens_and_makes_the_run_invalid():
    broken = results.detailed([(0.05, [0.01, 0.01], 1), (0.05, [0.01, 0.01], 3)], completed=2, failed=0)
    (reason,) = read(broken).record.invalid
    assert (reason.code, reason.sentence[:14]) == ("broken_replies", "1 of 2 replies")
    recounted = results.detailed([(0.05, [0.01] * 99, 97)], completed=1)  # old files count the tokens of the text again
    assert read(recounted).record.invalid == []


def test_the_peak_by_the_second_has_a_key_of_its_own():
    one_at_a_time = {"start_times": [0.0, 0.11], "queue_times": [0.0, 0.1], "latencies": [0.1, 0.1]}
    given = results.detailed([(0.1, [], 1)] * 2, max_concurrency=1, max_concurrent_requests=2, **one_at_a_time)
    found = read(given).record.metrics
    assert found["vllm_max_concurrent_requests"] == 2
    assert found["peak_concurrent_requests"] == 1
    assert "max_concurrent_requests" not in found


def test_the_latencies_of_a_summary_give_what_it_does_not_say():
    arrays = {"latencies": [0.1, 0.2, 0.0, 0.3], "queue_times": [0.0, 0.01, 0.0, 0.02]}  # the third failed
    found = read(results.summary() | arrays).record.metrics
    assert (found["median_e2el_ms"], found["median_queue_ms"]) == pytest.approx((200, 10))
    own = read(results.summary(median_e2el_ms=7.0) | arrays).record.metrics
    assert own["median_e2el_ms"] == 7.0
    assert "p99_e2el_ms" not in own


def test_what_a_chat_summary_times_from_its_role_is_not_filed_as_ours():
    given = results.summary()
    chat_, completions = read(given | {"backend": "openai-chat"}).record, read(given).record
    assert "role_chunk" in codes(chat_.warnings)
    moved = {key for key in completions.metrics if key.endswith(("_ttft_ms", "_tpot_ms", "_itl_ms"))}
    assert len(moved) == 12
    assert chat_.metrics == {
        f"vllm_{key}" if key in moved else key: value for key, value in completions.metrics.items()
    }
    merged = read(given | {"backend": "openai-chat", "mean_itl_ms": 4 * given["mean_tpot_ms"]}).record.metrics
    assert "vllm_median_chunk_gap_ms" in merged
    ends = {"latencies": [0.1, 0.3], "queue_times": [0.0, 0.0]}
    assert read(given | ends | {"backend": "openai-chat"}).record.metrics["median_e2el_ms"] == pytest.approx(200)


def test_the_chunk_of_the_role_is_no_token():
    found = read(chat((0.01, [0.002] * 9, 10)))
    assert "role_chunk" in codes(found.record.warnings)
    assert "chunk_itl" not in codes(found.record.warnings)
    assert found.record.invalid == []  # eleven chunks of ten tokens
    filed = found.record.metrics  # the file's own are 9.9 and 1.81
    assert (filed["median_ttft_ms"], filed["median_itl_ms"], filed["mean_itl_ms"]) == pytest.approx((10, 2, 2))
    with_token = results.detailed([(0.01, [0.002] * 9, 10)], backend="openai-chat")  # the role came with a token
    assert "role_chunk" not in codes(read(with_token).record.warnings)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"mean_itl_ms": 14.55, "mean_tpot_ms": 3.64}, "mean ITL is 4.00 times mean TPOT"),
        ({"max_output_tokens_per_s": 16.0, "output_throughput": 228.6}, "at most 16 chunks but 229 tokens a second"),
        ({"mean_itl_ms": 20.0, "mean_tpot_ms": 18.0, "max_output_tokens_per_s": 5000.0}, None),
        ({"duration": 1.3, "max_output_tokens_per_s": 40.0, "output_throughput": 46.0}, None),  # a rest of 0.3 s
    ],
)
def test_merged_chunks_show_in_a_summary_too(changes, shown):
    record = read(results.summary(**changes)).record
    said = [reason.sentence for reason in record.warnings if reason.code == "chunk_itl"]
    assert ("median_chunk_gap_ms" in record.metrics, "median_itl_ms" in record.metrics) == (bool(shown), not shown)
    assert [sentence.startswith(shown) for sentence in said] == ([True] if shown else [])


@pytest.mark.parametrize(("times", "shown"), [(1.49, False), (1.51, True)])
def test_a_mean_itl_of_half_as_much_again_as_the_mean_tpot_is_of_chunks(times, shown):
    given = results.summary()
    found = read(given | {"mean_itl_ms": times * given["mean_tpot_ms"]}).record
    assert ("chunk_itl" in codes(found.warnings)) is shown


@pytest.mark.parametrize(("times", "shown"), [(1.04, False), (1.06, True)])
def test_more_tokens_than_chunks_a_second_by_over_5_percent_are_merged(times, shown):
    given = results.summary(duration=20.0)  # whole seconds, by which the tool counts
    found = read(given | {"max_output_tokens_per_s": given["output_throughput"] / times}).record
    assert ("chunk_itl" in codes(found.warnings)) is shown


@pytest.mark.parametrize(("first_gap_s", "role"), [(0.0019, True), (0.0021, False)])
def test_a_first_gap_below_a_tenth_of_the_others_is_that_of_the_role(first_gap_s, role):
    replies = [(0.01, [first_gap_s, *[0.02] * 9], 11)]
    found = read(results.detailed(replies, backend="openai-chat", max_concurrency=None))
    assert ("role_chunk" in codes(found.record.warnings)) is role


@pytest.mark.parametrize("text", ["77", 77])
def test_a_run_is_named_by_the_requests_sent_not_by_a_num_prompts_given_as_metadata(text):
    record = read(results.summary(completed=4) | {"num_prompts": text, "failed": 0}, path="x_tp1_len2000.json").record
    assert record.config["workload"]["num_prompts"] == 4
    assert record.name.endswith("n4")
    assert "prompts_disagree" in codes(record.warnings)


def test_a_file_without_latencies_is_said_to_have_none():
    bare = {key: value for key, value in results.summary().items() if not key.endswith("_ms")}
    assert "no_latencies" in codes(read(bare).record.warnings)
    assert "no_latencies" not in codes(read(results.summary()).record.warnings)


# ---- what is no result


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[1, 2]", "no result"),
        ('"words"', "no result"),
        ("{}\n{", "line 2"),
    ],
)
def test_text_that_holds_no_results_is_told_why(text, why):
    with pytest.raises(imported.NotAResult, match=why):
        imported.parse_results(text)


def test_lines_and_lists_of_results_are_read_as_many():
    one, two = results.summary(num_prompts=10), results.summary(num_prompts=20)
    assert imported.parse_results(f"{json.dumps(one)}\n{json.dumps(two)}") == [one, two]
    assert imported.parse_results(json.dumps([one, two], indent=4)) == [one, two]


@pytest.mark.parametrize(
    ("result", "path", "why"),
    [
        ({"name": "package"}, TREE, "it has no duration"),
        ({"reason": "oom"}, "x.json", "which model"),
        (results.summary() | {"num_prompts": "many"}, TREE, "num_prompts=many"),
        (results.summary(duration=None), TREE, "NoneType"),
        (results.summary(duration=1e300), TREE, "int"),
        (results.summary(ttfts=[1.0], itls=[7], input_lens=[1], output_lens=[2]), TREE, "unsized"),
        ({"error": "x", "serve_overrides": ["a"], "model": "m"}, TREE, "items"),
    ],
)
def test_a_result_that_cannot_be_read_is_told_why(result, path, why):
    with pytest.raises(imported.NotAResult, match=why):
        read(result, path=path)
