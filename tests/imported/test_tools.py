"""Results of other tools: ingested, compared and flagged; and our runs as Benchmark Reports.

samples/ has what guidellm 0.8.1, aiperf 0.13.0, genai-bench 0.0.5, inference-perf 0.7.0 and evalscope 1.14.1 wrote of
twelve requests to tests/fake_vllm.py (TTFT 50 ms, then four tokens each 10 ms, 21 in all; to genai-bench all 21 at
once; on a busy host), shortened. InferenceX's has the shape that its process_result.py writes, with made-up numbers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import records
import yaml
from benchmark_report_schema import SCHEMA
from filed import copy_home
from published import read_published

from vbench import imported, ingest, tracking
from vbench.analysis import __main__ as analysis
from vbench.imported import NotAResult
from vbench.imported.report import benchmark_report
from vbench.schema.record import Failure, Record

SAMPLES = Path(__file__).parent / "samples"
PATTERN = r"pattern=(?P<model>llama8b)/stage_"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with all samples, filed in a store there."""
    home = tmp_path_factory.mktemp("samples")
    records.empty_store(home)
    shutil.copytree(SAMPLES, home / "results")
    (home / "results" / "llama8b").mkdir()
    (home / "results" / "stage_0_lifecycle_metrics.json").rename(
        home / "results" / "llama8b" / "stage_0_lifecycle_metrics.json"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert ingest.main(["results", PATTERN, "reports=reports"]) == 0
    return home


@pytest.fixture
def filed(home, tmp_path, monkeypatch):
    """All samples in a store of the test's own; by tool, the row of each."""
    copy_home(home, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    table = tracking.query("imported")
    return {
        str(tool).partition(" ")[0]: row
        for tool, row in zip(table["tags.env.metadata.tool"], table.to_dict("records"), strict=True)
    }


def warnings(row):
    return set(row["tags.vbench.warnings"].split())


def test_every_tools_file_becomes_a_run_with_its_flaws_named(filed):
    flaws = {
        "guidellm": {"nearest_rank", "itl_of_request", "tpot_with_ttft"},
        "aiperf": {"itl_is_tpot", "tokens_by_tokenizer"},
        "genai-bench": {"bursts_left_out", "e2el_to_stream_end"},
        "inference-perf": {"chunk_itl", "one_token_ttft", "e2el_to_stream_end", "tokens_by_tokenizer"},
        "evalscope": {"chunk_itl", "nearest_rank", "rounded", "e2el_to_stream_end"},
        "InferenceX": {"chunk_itl"},
    }
    assert filed.keys() == flaws.keys()
    for tool, expected in flaws.items():
        assert expected | {"cache_unchecked", "summary_only"} <= warnings(filed[tool])
        assert filed[tool]["tags.vbench.validity"] == "VALID"
        assert filed[tool]["tags.vbench.source"] == "imported"


def test_what_a_tool_defines_otherwise_has_a_name_of_its_own(filed):
    guidellm, aiperf, perf = filed["guidellm"], filed["aiperf"], filed["inference-perf"]
    assert guidellm["metrics.mean_itl_ms"] == pytest.approx(2.47922, abs=1e-5)
    assert guidellm["metrics.guidellm_p99_inter_token_latency_ms"] == pytest.approx(2.54576, abs=1e-5)
    assert guidellm["metrics.guidellm_mean_time_per_output_token_ms"] == pytest.approx(5.21239, abs=1e-5)
    assert records.lacks(guidellm, "metrics.median_itl_ms")
    assert aiperf["metrics.mean_tpot_ms"] == pytest.approx(2.95080, abs=1e-5)
    assert aiperf["metrics.mean_chunk_gap_ms"] == pytest.approx(11.80320, abs=1e-5)  # four tokens
    assert records.lacks(aiperf, "metrics.mean_itl_ms", "metrics.median_itl_ms")
    assert perf["metrics.inference_perf_median_inter_token_latency_ms"] == 0  # three of four tokens have no gap
    assert perf["metrics.median_tpot_ms"] == pytest.approx(2.50344, abs=1e-5)
    assert records.lacks(perf, "metrics.median_itl_ms")
    x = filed["InferenceX"]
    assert x["metrics.median_chunk_gap_ms"] == pytest.approx(9.9)
    assert records.lacks(x, "metrics.median_itl_ms")


@pytest.mark.parametrize(("told", "agrees"), [(252, True), (254, True), (249, False), (255, False), (126, False)])
def test_aiperfs_tokens_by_its_own_tokenizer_give_way_to_the_servers_where_these_differ(told, agrees):
    result = json.loads((SAMPLES / "profile_export_aiperf.json").read_text())  # 252 by its tokenizer
    [plain], [record] = convert(result), convert(result | {"total_usage_completion_tokens": {"avg": float(told)}})
    assert {each.code for each in plain.warnings} >= {"tokens_by_tokenizer"}  # nothing to compare with
    assert ("tokens_by_tokenizer" not in {each.code for each in record.warnings}) is agrees
    assert ("mean_tpot_ms" in record.metrics) is agrees
    if agrees:
        assert record.metrics == plain.metrics
        return
    assert record.metrics["total_output_tokens"] == told
    assert record.metrics["output_throughput"] == pytest.approx(plain.metrics["output_throughput"] * told / 252)
    assert record.metrics["aiperf_mean_inter_token_latency_ms"] == plain.metrics["mean_tpot_ms"]
    assert "total_token_throughput" not in record.metrics
    assert record.metrics["mean_e2el_ms"] == plain.metrics["mean_e2el_ms"]


def test_aiperf_may_be_asked_to_count_by_the_servers_usage():
    result = json.loads((SAMPLES / "profile_export_aiperf.json").read_text())
    result["input_config"]["endpoint"]["use_server_token_count"] = True
    assert "tokens_by_tokenizer" not in {each.code for each in convert(result)[0].warnings}


def test_guidellms_latencies_are_computed_from_the_requests_times():
    result = json.loads((SAMPLES / "guidellm.json").read_text())
    [benchmark] = result["benchmarks"]
    times = [(each["info"]["timings"], each["output_tokens"]) for each in benchmark["requests"]["successful"]]
    ttft = [1e3 * (found["first_token_iteration"] - found["request_start"]) for found, _ in times]
    tpot = [1e3 * (found["last_token_iteration"] - found["first_token_iteration"]) / 20 for found, _ in times]
    [record] = convert(result)
    assert record.metrics["median_ttft_ms"] == pytest.approx(np.median(ttft))
    assert record.metrics["guidellm_median_time_to_first_token_ms"] == sorted(ttft)[6]  # the seventh of twelve
    assert record.metrics["p99_ttft_ms"] == pytest.approx(np.percentile(ttft, 99))
    assert record.metrics["mean_tpot_ms"] == pytest.approx(np.mean(tpot))
    assert record.metrics["mean_tpot_ms"] == pytest.approx(2.479, abs=1e-3)  # guidellm's own, with the TTFT, is 5.21


def test_guidellms_percentiles_of_a_report_without_its_requests_are_never_vbenchs():
    result = json.loads((SAMPLES / "guidellm.json").read_text())
    [benchmark] = result["benchmarks"]
    del benchmark["requests"]["successful"][0]  # a sample of them
    metrics = convert(result)[0].metrics
    assert metrics["mean_ttft_ms"] == metrics["guidellm_mean_time_to_first_token_ms"]
    others = {f"{shape}_{name}_ms" for shape in ("median", "p99") for name in ("ttft", "e2el", "tpot", "itl")}
    assert not metrics.keys() & (others | {"mean_tpot_ms"})


def test_a_result_of_genai_bench_in_milliseconds_says_what_the_same_in_seconds_says():
    [file] = (SAMPLES / "genai_bench").glob("D*.json")
    result = json.loads(file.read_text())
    beside = {"experiment_metadata.json": [{"api_model_name": "m"}]}
    seconds = convert(result, beside=beside)[0].metrics
    result["_time_unit"] = "ms"
    for each in result["individual_request_metrics"]:
        each |= {name: 1e3 * each[name] for name in ("ttft", "e2e_latency")}
    for name in ("ttft", "e2e_latency", "tpot"):
        found = result["aggregated_metrics"]["stats"][name]
        found |= {shape: 1e3 * value for shape, value in found.items()}
    assert convert(result, beside=beside)[0].metrics == pytest.approx(seconds)
    assert {"median_ttft_ms", "p99_e2el_ms", "median_tpot_ms", "genai_bench_median_tpot_ms"} <= seconds.keys()


def test_the_bursts_that_genai_bench_leaves_out_are_in_our_tpot():
    folder = SAMPLES / "genai_bench"
    [file] = folder.glob("D*.json")
    result = json.loads(file.read_text())
    beside = {"experiment_metadata.json": [json.loads((folder / "experiment_metadata.json").read_text())]}
    tpot = [1e3 * (each["e2e_latency"] - each["ttft"]) / 20 for each in result["individual_request_metrics"]]
    metrics = convert(result, beside=beside)[0].metrics
    assert metrics["genai_bench_median_tpot_ms"] == pytest.approx(0.66827, abs=1e-5)  # of one reply in 28
    assert metrics["median_tpot_ms"] == pytest.approx(np.median(tpot))
    assert metrics["median_tpot_ms"] < 0.01
    assert metrics["output_throughput"] == pytest.approx(28 * 21 / metrics["duration"])  # of all of them
    del result["individual_request_metrics"][0]
    metrics = convert(result, beside=beside)[0].metrics
    assert "median_tpot_ms" not in metrics
    assert "median_ttft_ms" in metrics


def evalscope(name="summary"):
    return json.loads((SAMPLES / "evalscope" / f"benchmark_{name}.json").read_text())


def convert_evalscope(result, rows=None, **arguments):
    given = evalscope("args") | arguments
    beside = {"benchmark_percentile.json": rows or evalscope("percentile"), "benchmark_args.json": [given]}
    return convert(result, beside=beside)[0]


def test_evalscopes_means_are_ours_and_its_percentiles_have_its_name(filed):
    row = filed["evalscope"]
    assert row["metrics.mean_ttft_ms"] == pytest.approx(56.43)
    assert row["metrics.mean_tpot_ms"] == pytest.approx(2.51)
    assert row["metrics.mean_chunk_gap_ms"] == pytest.approx(10.04)  # four tokens
    assert row["metrics.mean_e2el_ms"] == pytest.approx(106.6)  # in seconds there
    assert row["metrics.evalscope_median_ttft_ms"] == pytest.approx(54.3749)
    assert row["metrics.evalscope_p90_e2el_ms"] == pytest.approx(115.9)
    names = ("median", "p90", "p99")
    assert records.lacks(row, *(f"metrics.{name}_{each}_ms" for name in names for each in ("ttft", "tpot", "e2el")))
    assert records.lacks(row, "metrics.mean_itl_ms", "metrics.evalscope_median_itl_ms")
    assert row["metrics.total_output_tokens"] == 12 * 21
    assert (row["params.model.name"], row["params.workload.max_concurrency"]) == ("fake", 4)
    assert [int(row[f"params.workload.{end}_len"]) for end in ("input", "output")] == [16, 21]


def test_evalscopes_open_loop_has_a_rate_and_no_limit():
    workload = convert_evalscope(evalscope(), rate=5.0, open_loop=True).config["workload"]
    assert (workload["request_rate"], workload.get("max_concurrency")) == (5.0, None)


def test_evalscope_without_streaming_has_no_ttft():
    whole = evalscope() | {
        "Stream Requests": 0,
        "Non-Stream Requests": 12,
        "Avg TTFT (ms)": 106.6,
        "Avg TPOT (ms)": 0.0,
    }
    found = convert_evalscope(whole)
    assert "not_streamed" in {each.code for each in found.warnings}
    assert not [key for key in found.metrics if "ttft" in key or "tpot" in key or "gap" in key]
    assert found.metrics["mean_e2el_ms"] == pytest.approx(106.6)


def test_replies_without_text_are_in_no_mean_of_evalscopes_ttft():
    rows = evalscope("percentile")
    rows[0]["TTFT (ms)"] = 0.0
    found = convert_evalscope(evalscope(), rows)
    assert "zero_ttft" in {each.code for each in found.warnings}
    assert not found.metrics.keys() & {"mean_ttft_ms", "mean_tpot_ms"}


def test_evalscope_without_its_other_files_has_its_means_and_needs_a_model():
    with pytest.raises(NotAResult, match="which model"):
        convert(evalscope())
    [found] = convert(evalscope(), facts={"model": "mine"})
    assert found.config["workload"]["max_concurrency"] == 4
    assert not [key for key in found.metrics if key.startswith("evalscope_")]
    assert "nearest_rank" not in {each.code for each in found.warnings}


def test_failed_requests_of_evalscope_make_the_run_invalid():
    failed = evalscope() | {"Success Requests": 11, "Failed Requests": 1}
    assert convert_evalscope(failed).verdict == "INVALID"


def test_loads_models_and_rates_are_what_the_files_say(filed):
    guidellm, genai, x = filed["guidellm"], filed["genai-bench"], filed["InferenceX"]
    assert guidellm["metrics.output_throughput"] == pytest.approx(252 / 0.36759686)
    assert (guidellm["params.model.name"], guidellm["params.workload.max_concurrency"]) == ("fake", 4)
    assert [int(guidellm[f"params.workload.{end}_len"]) for end in ("input", "output")] == [16, 21]
    assert genai["params.hardware.name"] == "1xh100"
    assert genai["tags.vbench.engine_version"] == "vllm 0.32.0"
    assert genai["metrics.median_ttft_ms"] == pytest.approx(84.76, abs=1e-2)
    assert genai["metrics.duration"] == pytest.approx(2.17742, abs=1e-4)
    assert (x["params.model.name"], x["params.hardware.name"]) == ("Llama-3.1-8B-Instruct", "2xh200")
    assert x["metrics.output_throughput"] == 1500  # 750 for each of two GPUs
    assert x["metrics.median_ttft_ms"] == pytest.approx(70)


def test_runs_of_several_tools_are_never_one_series(filed, capsys):
    assert analysis.main(["experiment=imported", "x=median_ttft_ms", "figures=[]"]) == 0
    said = capsys.readouterr().out
    for tool in ("guidellm 0.8.1", "aiperf 0.13.0", "genai-bench 0.0.5"):
        assert f"tool={tool}" in said


def test_decode_throughput_of_split_gpus_is_multiplied_by_the_decode_gpus():
    result = json.loads((SAMPLES / "inferencex_agg.json").read_text())
    del result["tp"], result["ep"]
    result |= {"is_multinode": True, "disagg": True, "num_prefill_gpu": 4, "num_decode_gpu": 12}
    [found] = convert(result)
    assert found.metrics["output_throughput"] == 750 * 12
    assert found.metrics["total_token_throughput"] == 1500 * 16
    assert found.config["hardware"]["gpus"] == 16
    assert "per_decode_gpu" in {each.code for each in found.warnings}


@pytest.mark.parametrize(("attention", "split", "name"), [("true", (1, 2), "adp2ep"), ("false", (2, None), "tp2ep")])
def test_attention_that_each_gpu_copies_is_no_tensor_parallelism(attention, split, name):
    result = json.loads((SAMPLES / "inferencex_agg.json").read_text())
    [found] = convert(result | {"ep": 2, "dp_attention": attention})
    parallelism = found.config["parallelism"]
    assert (parallelism["tensor_parallel_size"], parallelism.get("attention_data_parallel_size")) == split
    assert found.config["hardware"]["gpus"] == 2
    assert f" · {name} · " in found.name


def test_failed_requests_of_a_tool_make_the_run_invalid():
    result = json.loads((SAMPLES / "guidellm.json").read_text())
    result["benchmarks"][0]["metrics"]["request_totals"] = {
        "successful": 10,
        "errored": 2,
        "incomplete": 3,
        "total": 15,
    }
    [found] = convert(result)
    assert found.verdict == "INVALID"
    assert "cut_requests" in {each.code for each in found.warnings}


@pytest.mark.parametrize("name", ["guidellm.json", "profile_export_aiperf.json", "stage_0_lifecycle_metrics.json"])
def test_a_file_that_lacks_what_its_tool_always_writes_is_refused_in_a_line(name):
    result = json.loads((SAMPLES / name).read_text())
    for key in ("benchmarks", "input_config", "load_summary"):
        if key in result:
            result[key] = [{}] if key == "benchmarks" else {}
    with pytest.raises(NotAResult, match=r"not as its tool writes it|which model"):
        convert(result)


def test_failed_requests_make_a_run_invalid_though_its_file_tells_no_duration():
    result = json.loads((SAMPLES / "profile_export_aiperf.json").read_text())
    del result["benchmark_duration"]
    assert convert(result)[0].verdict == "VALID"
    result["error_summary"] = [{"error_details": {"type": "timeout"}, "count": 3}]
    [found] = convert(result)
    assert [each.code for each in found.invalid] == ["failed_requests"]
    assert "3 of 15" in found.invalid[0].sentence


def test_a_file_of_genai_perf_is_not_taken_for_one_of_aiperf():
    result = json.loads((SAMPLES / "profile_export_aiperf.json").read_text())
    config = {"model_names": ["llama"], "perf_analyzer": {"stimulus": {"concurrency": 64}}, "endpoint": {}}
    with pytest.raises(NotAResult, match="nor of another tool"):
        convert(result | {"input_config": config}, {"model": "llama8b"})


def convert(result, facts=(), **about):
    from datetime import datetime, timezone

    source = imported.Source(dict(facts), datetime(2026, 1, 1, tzinfo=timezone.utc), "imported", **about)
    return [each.record for each in imported.convert_all(result, source, imported.Catalogue())]


# ---- Benchmark Report 0.2


def test_every_published_run_makes_a_report_of_version_0_2():
    some = read_published()[::4]
    assert len(some) > 20
    for record in some:
        SCHEMA.validate(benchmark_report(record))


def test_a_report_has_only_fields_of_its_version_and_a_mean_for_every_statistic():
    report = benchmark_report(records.record(gpus=4, tp=2, dp=2))
    SCHEMA.validate(report)
    aggregate = report["results"]["request_performance"]["aggregate"]
    [engine] = report["scenario"]["stack"]
    assert (engine["standardized"]["replicas"], engine["standardized"]["accelerator"]["count"]) == (2, 2)
    assert aggregate["throughput"]["output_token_rate"] == {"units": "tokens/s", "mean": 9600.0}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("other", 1),
        ("run.other", 1),
        ("version", "0.1"),
        ("results.request_performance.aggregate.latency.time_to_first_token.units", "s"),
        ("results.request_performance.aggregate.latency.time_to_first_token.mean", None),
        ("results.request_performance.aggregate.requests.total", -1),
        ("scenario.load.metadata.schema_version", None),
    ],
)
def test_the_schema_refuses_what_the_format_refuses(path, value):
    report = json.loads(json.dumps(benchmark_report(records.record())))
    *above, last = path.split(".")
    part = report
    for key in above:
        part = part[key]
    part[last] = value
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(report)


def test_a_failed_runs_report_has_its_kind_and_no_results():
    report = benchmark_report(records.record(failure=Failure("oom_load", "out of memory")))
    assert report["results"] == {}
    assert report["run"]["keywords"] == ["FAILED", "oom_load"]


def test_our_report_is_read_back_with_the_same_numbers_also_as_yaml(tmp_path):
    made = records.record(gpus=2, tp=2)
    text = yaml.safe_dump(json.loads(json.dumps(benchmark_report(made))))
    [found] = convert(imported.parse_results(text, is_yaml=True)[0])
    same = ("output_throughput", "median_ttft_ms", "p99_itl_ms", "mean_tpot_ms", "completed", "total_output_tokens")
    assert {key: found.metrics[key] for key in same} == pytest.approx({key: made.metrics[key] for key in same})
    assert found.environment["metadata"]["tool"] == "vbench 0.1.0"


@pytest.mark.parametrize("dp", [1, 2])
def test_our_report_keeps_engines_that_share_experts_apart_from_copies(dp):
    made = records.record(gpus=4 * dp, tp=2, dp=dp)
    made.config["parallelism"] |= {"attention_data_parallel_size": 2, "enable_expert_parallel": True}
    report = json.loads(json.dumps(benchmark_report(made)))
    SCHEMA.validate(report)
    parallelism = report["scenario"]["stack"][0]["standardized"]["accelerator"]["parallelism"]
    assert (parallelism["tp"], parallelism["dp"], parallelism["ep"]) == (2, 2, 4)
    [found] = convert(report)
    kept = ("tensor_parallel_size", "attention_data_parallel_size", "data_parallel_size", "enable_expert_parallel")
    assert {key: found.config["parallelism"][key] for key in kept} == dict(zip(kept, (2, 2, dp, True), strict=True))


def test_another_tools_report_keeps_its_latencies_a_token_under_the_tools_name():
    report = benchmark_report(records.record())
    report["scenario"]["load"]["standardized"]["tool"] = "inference-perf"
    [found] = convert(report)
    assert found.metrics["inference_perf_median_itl_ms"] == pytest.approx(20)
    latencies = {key for key in found.metrics if key.endswith(("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"))}
    assert {key for key in latencies if not key.startswith("inference_perf_")} == {"mean_ttft_ms", "mean_e2el_ms"}
    assert {"per_token_by_tool", "percentiles_by_tool"} <= {each.code for each in found.warnings}


def test_ingest_writes_a_report_for_every_run(filed, tmp_path):
    files = sorted((tmp_path / "reports").iterdir())
    assert len(files) == 6
    assert all(file.name.startswith("benchmark_report_v0.2_") for file in files)
    assert {json.loads(file.read_text())["version"] for file in files} == {"0.2"}


def test_a_report_of_a_runs_folder_is_that_of_its_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    records.empty_store(tmp_path)
    folder = records.saved(records.record(), tmp_path / "multirun")
    assert ingest.main(["multirun", "reports=reports"]) == 0
    [file] = (tmp_path / "reports").iterdir()
    assert json.loads(file.read_text()) == json.loads(json.dumps(benchmark_report(Record.load(folder))))
