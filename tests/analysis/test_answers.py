"""What a report says first: the sentences, and that none claims more than the runs carry."""

from __future__ import annotations

import dataclasses

import compared
import pytest
import records
from sections import OOM, curve, section

from vbench.analysis import comparisons, frame, report
from vbench.analysis.answers import answer
from vbench.analysis.options import Options
from vbench.metrics.bounds import FACTS, GAUGES, find_bounds
from vbench.metrics.names import metric_name
from vbench.metrics.remedies import REMEDY
from vbench.schema.record import Reason


def parts(*made, **options):
    runs = frame.runs(records.table(list(made)))
    chosen = Options(experiment="grid", figures=[], **options)
    first = answer(runs, comparisons.sections(runs, chosen), chosen)
    return first, dict(first.parts)


def repeats(value, **what):
    return [
        records.record(output_throughput=value + shift, workload={"seed": seed}, **what)
        for seed, shift in enumerate((-10, 0, 10))
    ]


def test_the_answer_names_the_campaign_and_counts_the_verdicts():
    late = records.record(num_prompts=80, invalid=[Reason("late_client", "")])
    first, found = parts(*curve(loads=(320,)), late, records.record(gpus=4, tp=4, failure=OOM))
    assert first.title == "grid"
    assert first.measured.startswith("1 VALID, 1 INVALID, 1 FAILED")
    assert "Runs that enter no answer, by reason: oom_load 1, late_client 1 (see Left out)." in [
        *found["What this cannot tell"]
    ]


def test_what_was_left_out_says_what_to_do_about_it_as_the_run_does():
    lagging = records.record(num_prompts=80, invalid=[Reason("lagging_client", "")])
    late = records.record(num_prompts=10, invalid=[Reason("late_client", "")])
    _, found = parts(*curve(loads=(320,)), lagging, late, records.record(gpus=4, tp=4, failure=OOM))
    cannot = "\n".join(found["What this cannot tell"])
    assert REMEDY["lagging_client"] in cannot
    assert "rerun=invalid" in cannot
    assert cannot.count(REMEDY["late_client"]) == 1  # it is the same remedy
    assert "\nlagging_client, late_client: " in cannot  # a code as it is written in tables and in docs/
    assert "rerun=failed measures it again" in cannot
    runs = frame.runs(records.table([lagging, late]))
    notes = section(comparisons.sections(runs, Options(experiment="grid", figures=[])), "left-out").notes
    assert any(REMEDY["lagging_client"] in note for note in notes)


def test_a_point_that_was_measured_once_because_its_repeats_are_missing_is_not_told_to_repeat():
    late = records.record(workload={"seed": 1}, invalid=[Reason("late_client", "")])
    _, found = parts(*curve(loads=(320,)), late)
    [single] = [each for each in found["What this cannot tell"] if "measured once" in each]
    assert single.endswith("the same command with rerun=invalid measures 1 INVALID again.")
    runs = dataclasses.replace(frame.runs(records.table(curve(loads=(320,)))), to_come=2)
    chosen = Options(experiment="grid", figures=[])
    first = answer(runs, comparisons.sections(runs, chosen), chosen)
    assert first.measured == "1 VALID, 0 INVALID, 0 FAILED; unfinished: 2 of 3 points to come"
    cannot = "\n".join(dict(first.parts)["What this cannot tell"])
    assert "Unfinished: 2 of 3 points to come: wait for the campaign's end, or run the same command again" in cannot
    assert "workload.repeats" not in cannot


def test_the_best_is_told_with_its_interval_and_whether_it_is_decided():
    _first, found = parts(*repeats(9600), *repeats(9700, gpus=2, tp=2))
    [told, *_] = found["Which system gives the most"]
    assert told == (
        "llama8b at num_prompts=320: 2xh100 · tp2, 9,700 ± 25 output tokens/s (n = 3): 1.01 × the next, 1xh100 · tp1 "
        "with 9,600 ± 25 output tokens/s (n = 3); their 95 % intervals do not overlap. For each GPU: 1xh100 · tp1, "
        "9,600 ± 25 output tokens/s a GPU (n = 3)."
    )
    _, found = parts(*repeats(9600), *repeats(9610, gpus=2, tp=2))
    assert "not decided: their 95 % intervals overlap" in found["Which system gives the most"][0]
    _, found = parts(*curve(loads=(320,)), *repeats(20_000, gpus=2, tp=2))
    assert (
        "not every point was repeated, so whether they differ is not known" in found["Which system gives the most"][0]
    )
    assert any("1 of 2 points were measured once" in each for each in found["What this cannot tell"])


def test_limits_with_one_winner_are_told_once_and_a_limit_that_nothing_keeps_says_none():
    _, found = parts(*curve(), *curve(gpus=2, tp=2, slower=0.5), slo=[1.0, 30.0, 100.0])
    assert found["Which system gives the most"][1] == (
        "llama8b within median ITL ≤ 1 ms: none; median ITL ≤ 30 and 100 ms: 2xh100 · tp2, "
        "19,200 output tokens/s (n = 1) at num_prompts=320."
    )


def test_a_limit_is_not_decided_by_less_than_what_is_printed_or_than_the_interval():
    one = records.record(median_itl_ms=20.0, output_throughput=786)
    other = records.record(gpus=2, tp=2, median_itl_ms=20.01, output_throughput=900)
    _, found = parts(one, other, slo=[20.0, 30.0])
    assert found["Which system gives the most"][1] == (
        "llama8b within median ITL ≤ 20 ms: not decided: 2xh100 · tp2 is at the limit at num_prompts=320; surely "
        "within it: none; median ITL ≤ 30 ms: 2xh100 · tp2, 900 output tokens/s (n = 1) at num_prompts=320."
    )
    wide = [
        records.record(median_itl_ms=itl, output_throughput=786, workload={"seed": seed})
        for seed, itl in enumerate((18.0, 19.0, 22.0))
    ]
    _, found = parts(*wide, records.record(gpus=2, tp=2, median_itl_ms=10.0, output_throughput=700), slo=[20.0])
    assert "not decided: 1xh100 · tp1 is at the limit" in found["Which system gives the most"][1]
    assert "surely within it: 2xh100 · tp2, 700 output" in found["Which system gives the most"][1]


def test_one_point_nought_nought_is_said_in_words():
    _, found = parts(*repeats(9600), *repeats(9601, gpus=2, tp=2), slo=[50.0])
    at_the_load, within, *_ = found["Which system gives the most"]
    assert "no difference that was measured to the next, 1xh100" in at_the_load
    assert "1.00 ×" not in at_the_load
    assert "1xh100 · tp1, 9,600 " in within  # the smaller one
    assert "(no difference that was measured to 2xh100 · tp2)" in within


@pytest.mark.parametrize(
    ("one", "other", "starred"),
    [
        (repeats(1571), repeats(1572, gpus=2, tp=2), ""),
        ([records.record(output_throughput=1571)], [records.record(gpus=2, tp=2, output_throughput=1572)], ""),
        (
            [records.record(output_throughput=1571)],
            [records.record(gpus=2, tp=2, output_throughput=1600)],
            "2xh100 · tp2",
        ),
        (repeats(1571), repeats(3000, gpus=2, tp=2), "2xh100 · tp2"),
    ],
)
def test_no_system_is_starred_where_no_difference_was_measured(one, other, starred):
    table = compared.found(*one, *other)["throughput-latency"]
    marked = [system for system, cell in table.table["llama8b"].items() if cell.startswith("★")]
    assert marked == ([starred] if starred else [])
    assert ("No ★ where no difference to the best was measured" in table.caption) is not bool(starred)


@pytest.mark.parametrize(("value", "starred"), [(1572, False), (1576, True)])
def test_the_star_and_the_sentence_agree_on_what_is_no_difference(value, starred):
    runs = [records.record(output_throughput=1571), records.record(gpus=2, tp=2, output_throughput=value)]
    cells = compared.found(*runs)["throughput-latency"].table["llama8b"]
    at_the_load, *_ = parts(*runs)[1]["Which system gives the most"]
    assert any(cell.startswith("★") for cell in cells) is starred
    assert ("no difference that was measured" in at_the_load) is not starred


def test_the_headline_says_that_the_engine_was_not_vllm():
    first, _ = parts(records.record(engine={"command": ["python", "tests/fake_vllm.py"]}))
    assert first.title == "grid (not vLLM's own server: python tests/fake_vllm.py)"


def test_the_count_of_runs_says_how_many_others_may_have_disturbed():
    unwatched = [Reason("few_samples", ""), Reason("others_unknown", "")]
    made = [records.record(num_prompts=n, warnings=unwatched if n < 3 else []) for n in (1, 2, 3)]
    late = records.record(num_prompts=4, invalid=[Reason("late_client", "")], warnings=unwatched)
    first, _ = parts(*made, late)
    assert first.measured.startswith("3 VALID, 1 INVALID, 0 FAILED; other load cannot be told of 2 VALID")


def test_tensor_against_data_parallel_says_where_each_leads():
    tensor = [records.record(gpus=2, tp=2, num_prompts=n, output_throughput=v) for n, v in ((10, 200), (320, 9000))]
    data = [records.record(gpus=2, dp=2, num_prompts=n, output_throughput=v) for n, v in ((10, 100), (320, 18000))]
    _, found = parts(*tensor, *data)
    [told] = found["Tensor or data parallel"]
    assert "dp2 gives 1.000 [0.000," in told
    assert "on average not decided" in told
    assert told.endswith(
        "By load: dp2 at num_prompts=320 (up to 2.00 ×); tp2 at num_prompts=10 (up to 2.00 ×), from single runs."
    )


def test_nothing_measured_answers_nothing_but_what_went_wrong():
    first, found = parts(records.record(failure=OOM))
    assert first.measured.startswith("0 VALID, 0 INVALID, 1 FAILED")
    assert list(found) == ["What this cannot tell"]


def test_systems_without_a_watched_server_are_said_not_to_be_told():
    _, found = parts(*curve())
    assert "What bounds the systems" not in found
    assert "What bounds the systems: no run recorded what its server did." in found["What this cannot tell"]


@pytest.mark.parametrize(
    ("watched", "bound"),
    [
        ({"server_frontend_limited": 0.45}, ["front end"]),
        ({"server_frontend_limited": 0.15}, []),
        ({"server_max_kv_cache_usage": 0.99, "server_max_requests_waiting": 40.0}, ["KV capacity"]),
        ({"server_max_kv_cache_usage": 0.99, "server_max_requests_waiting": 0.0}, []),  # full, and nobody waits
        ({"server_max_kv_cache_usage": 0.40, "server_max_requests_waiting": 40.0}, []),
        ({"server_preemptions": 3.0, "server_max_kv_cache_usage": 1.0}, ["KV capacity"]),
        ({"client_busiest_cpu_share": 0.95}, ["client"]),
        ({"mbu_weights": 0.55, "mbu_kv": 0.2, "mfu": 0.1}, ["weights bandwidth"]),
        ({"mbu_weights": 0.2, "mbu_kv": 0.35, "mfu": 0.1}, ["KV bandwidth"]),
        ({"mbu_weights": 0.2, "mbu_kv": 0.1, "mfu": 0.45}, ["prefill compute"]),
        ({"mbu_weights": 0.2, "link_share": 0.4}, ["communication"]),
        ({"mbu_weights": 0.2, "mbu_kv": 0.1, "mfu": 0.1}, []),
        ({"mbu_weights": 0.2, "mfu": 0.1, "gpu_mean_utilization": 99.0}, ["step overhead"]),
        ({"gpu_mean_utilization": 40.0, "server_mean_requests_waiting": 0.0}, ["too few requests"]),
        ({"gpu_mean_utilization": 40.0, "server_mean_requests_waiting": 3.0}, []),
        (
            {"gpu_mean_utilization": 59.0, "server_mean_requests_waiting": 0.0, "server_frontend_limited": 0.8},
            ["front end"],
        ),
        (
            {"mfu": 0.45, "server.peak_prefill_tokens_per_s": 1e4, "total_input_tokens": 6e4, "duration": 10.0},
            ["prefill compute"],
        ),
        (
            {"server.peak_prefill_tokens_per_s": 10_000.0, "total_input_tokens": 60_000.0, "duration": 10.0},
            ["prefill compute"],
        ),
        ({"server.peak_prefill_tokens_per_s": 10_000.0, "total_input_tokens": 30_000.0, "duration": 10.0}, []),
        ({"server.peak_prefill_tokens_per_s": 0.0, "total_input_tokens": 30_000.0, "duration": 10.0}, []),
    ],
)
def test_a_bound_is_told_only_where_the_record_shows_it(watched, bound):
    nothing = dict.fromkeys((*GAUGES, *FACTS))
    assert [each.what for each in find_bounds(nothing | watched)] == bound


def test_the_scheduler_is_blamed_only_where_max_num_seqs_ran_and_the_cache_had_room():
    nothing = dict.fromkeys((*GAUGES, *FACTS))
    row = nothing | {
        "server_mean_requests_waiting": 100.0, "server_mean_requests_running": 60.0,
        "server_max_requests_running": 64.0, "server_max_kv_cache_usage": 0.3, "engine.max_num_seqs": 64.0,
    }  # fmt: skip
    assert [each.what for each in find_bounds(row)] == ["scheduler limit"]
    assert find_bounds(row | {"engine.max_num_seqs": None}) == []  # the engine's default is not recorded
    assert find_bounds(row | {"server_max_requests_running": 50.0}) == []
    assert [each.what for each in find_bounds(row | {"data_parallel_size": 2.0})] == []


def test_bounds_are_counted_by_kind_and_what_is_open_is_said():
    busy = {"server_frontend_limited": 0.5, "server_max_requests_running": 64.0}
    calm = {"server_frontend_limited": 0.0, "server_max_requests_running": 64.0}
    made = [records.record(), records.record(gpus=2, tp=2)]
    for each, watched in zip(made, (busy, calm), strict=True):
        each.metrics.update(watched)
    _, found = parts(*made)
    [told] = found["What bounds the systems"]
    assert told.startswith("Front end, of 1 of 2 systems at their highest load: llama8b · 1xh100 · tp1. The")
    assert told.endswith("event loop of a front end (an HTTP process of the server) filled a core for 50% of the run.")
    assert any(
        each.startswith("What bounds llama8b · 2xh100 · tp2: nothing") for each in found["What this cannot tell"]
    )


def test_every_file_begins_with_the_answer(tmp_path):
    runs = frame.runs(records.table([*curve(), *curve(gpus=2, tp=2, slower=0.6)]))
    chosen = Options(experiment="grid")
    found = comparisons.sections(runs, chosen)
    first = answer(runs, found, chosen)
    origin = report.provenance(runs, ["python"], "sqlite:///")
    report.write(first, found, origin, tmp_path / "out", ["svg"])
    best = "llama8b at num_prompts=320: 2xh100 · tp2, 16,000 output tokens/s"
    for name, contents in (("report.md", "## Contents"), ("report.html", "<nav")):
        text = (tmp_path / "out" / name).read_text()
        assert text.index(best) < text.index(contents) < text.index("Provenance")
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f'href="#{each.slug}"' in page and f'id="{each.slug}"' in page for each in found)
    assert report.markdown_parts(first, found)[0].startswith("6 VALID")


def test_metrics_have_names_that_people_read():
    assert metric_name("p99_ttft_ms") == "p99 time to first token (ms)"
    assert metric_name("std_e2el_ms") == "standard deviation of end-to-end latency (ms)"
    assert metric_name("other_thing") == "other thing"


def test_a_bound_at_a_lower_load_is_not_told_of_the_highest_whose_run_was_too_short_to_be_watched():
    low, high = records.record(num_prompts=80), records.record(num_prompts=320)
    low.metrics.update({"server_frontend_limited": 0.5, "server_max_requests_running": 64.0})
    sections_of, found = parts(low, high), compared.found(low, high)
    [told] = sections_of[1]["What bounds the systems"]
    assert told.startswith("Front end, at its highest load that was watched: llama8b · 1xh100 · tp1. The")
    assert found["bounds"].table["at"].tolist() == ["num_prompts=80 of 320"]
    assert "that was its highest load, which ended before its server was looked at" in found["bounds"].caption
    assert "looked at" not in compared.found(low)["bounds"].caption


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, "nothing that was recorded is at its limit"),
        (
            {"engine": {"base_url": "http://host:8000"}},
            "not told, as little is visible of a server that vbench did not",
        ),
        ({"engine_version": "not vLLM: fake_vllm.py"}, "not told, as it is not vLLM's own server"),
    ],
)
def test_what_bounds_a_server_of_which_little_is_known_is_said_to_be_open_and_why(what, said):
    made = records.record(**what)
    calm = {"server_frontend_limited": 0.0, "server_max_requests_running": 64.0}
    made.metrics.update(calm | ({"gpu_mean_utilization": 99.0, "mfu": 0.1} if "engine_version" in what else {}))
    _, found = parts(made)
    assert "What bounds the systems" not in found
    [told] = [each for each in found["What this cannot tell"] if each.startswith("What bounds")]
    assert said in told


def test_a_server_that_fills_its_own_cores_is_bound_by_them():
    made = records.record(gpus=0)
    shares = {"busy": 1.0, "others": 0.006, "client": 0.0, "stolen": 0.0}
    made.metrics.update({f"host_cpu_{name}_share": share for name, share in shares.items()})
    made.metrics["server_max_requests_running"] = 64.0
    [told] = parts(made)[1]["What bounds the systems"]
    assert told.startswith("Host CPU, at its highest load: llama8b · cpu · tp1. The server itself used 99%")
