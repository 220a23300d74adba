import inspect
import re

import numpy as np
import pytest
from builders import requests, run_config

from vbench.metrics import validity
from vbench.metrics.quantiles import needs_text
from vbench.metrics.remedies import REMEDY, find_remedy
from vbench.metrics.validity import judge


def codes(made, found=None, **load):
    judged = judge(made, run_config(workload=load).workload, found or {})
    return {reason.code for reason in judged.invalid}, {reason.code for reason in judged.warnings} - {"few_samples"}


def many(n=120, **columns):
    return requests(*([(1.0, 1), (1.1, 1)] for _ in range(n)), **columns)


def test_a_clean_run_of_enough_requests_is_valid_without_a_warning():
    assert codes(many()) == (set(), set())


def test_few_requests_are_warned_of_where_p99_is_quoted():
    few, enough = (judge(many(n), run_config().workload, {}).warnings for n in (298, 299))
    assert [each.code for each in few] == ["few_samples"]
    assert few[0].sentence.startswith(needs_text("p99_ttft_ms", 298).replace("needs", "p99 needs"))  # as tables say
    assert not enough


def test_a_reply_without_a_token_is_no_sample():
    replies = [[], *([(1.0, 1), (1.1, 1)] for _ in range(298))]
    assert [each.code for each in judge(requests(*replies), run_config().workload, {}).warnings] == ["few_samples"]
    more = requests([(1.0, 1)], *replies)
    assert not judge(more, run_config().workload, {}).warnings


@pytest.mark.parametrize(
    ("code", "columns", "found", "load"),
    [
        ("failed_requests", {"error": np.array(["http 500"] + [""] * 119)}, {}, {}),
        ("short_replies", {"asked_tokens": np.full(120, 3)}, {}, {}),
        ("prefix_cache_hits", {}, {"server_prefix_cache_hits": 30.0, "server_prefix_cache_queries": 100.0}, {}),
        ("token_mismatch", {}, {"server_generation_tokens": 300.0}, {}),
        ("lagging_client", {}, {"client_loop_lag_p99_s": 0.02, "median_itl_ms": 10.0}, {}),
        ("late_client", {"scheduled": np.full(120, -0.5)}, {}, {"request_rate": 10.0}),
    ],
)
def test_each_cause_of_mistrust_has_its_code(code, columns, found, load):
    assert code in codes(many(**columns), found, **load)[0]


def test_arrivals_slower_than_asked_are_told():
    made = many(scheduled=np.linspace(0, 10, 120), sent=np.linspace(0, 20, 120))
    assert "slow_arrivals" in codes(made, request_rate=12.0)[0]


@pytest.mark.parametrize("count", [1, 120])
@pytest.mark.parametrize("load", [{"request_rate": 2.0}, {"request_rate": 2.0, "max_concurrency": 4}, {}])
def test_a_load_of_which_nothing_could_be_sent_is_judged(count, load):
    unsent = {"sent": np.full(count, np.nan), "error": np.full(count, "connection refused")}
    assert codes(many(count, scheduled=np.arange(count) / 2.0, **unsent), **load)[0] == {"failed_requests"}


def test_a_closed_loop_may_keep_requests_waiting():
    assert codes(many(scheduled=np.full(120, -0.5)), max_concurrency=4) == (set(), set())


def test_preemptions_are_a_warning():
    assert codes(many(), {"server_preemptions": 2.0}) == (set(), {"preemptions"})
    (warned, _) = judge(many(), run_config().workload, {"server_preemptions": 2.0}).warnings
    assert "computed again is in no count of tokens" in warned.sentence


def test_replies_that_end_early_are_fine_where_eos_is_obeyed():
    assert codes(many(asked_tokens=np.full(120, 3)), ignore_eos=False)[0] == set()


def test_tokens_that_arrive_together_are_a_warning():
    together = requests(*([(1.0, 1), (1.1, 3)] for _ in range(120)))
    assert codes(together) == (set(), {"merged_tokens"})


@pytest.mark.parametrize(
    ("stall_ms", "itl_ms", "warned"),
    [(999, 10, False), (1000, 10, True), (1000, 100, True), (1000, 100.1, False), (1700, 300, False)],
)
@pytest.mark.parametrize("cause", ["prefill", "unexplained"])
def test_a_pause_of_all_requests_is_a_warning_by_its_cause_unless_tokens_take_that_long(
    cause, stall_ms, itl_ms, warned
):
    code = {"prefill": "stalled_by_prefill", "unexplained": "stalled_unexplained"}[cause]
    found = {f"longest_{cause}_stall_ms": stall_ms, "median_itl_ms": itl_ms}
    assert codes(many(), found) == (set(), {code} if warned else set())


def test_a_run_under_which_the_engine_compiled_is_no_measurement():
    load, found = run_config().workload, {"longest_compile_stall_ms": 8148.0}
    judged = judge(many(), load, found, ["_topk", "_topk", "_routing", "_matmul", "_finalize"])
    (reason,) = judged.invalid
    assert reason.code == "compiled_under_load"
    assert "(_topk, _routing, _matmul and 1 more), and no token came for 8.1 s meanwhile" in reason.sentence
    assert "(_topk):" in judge(many(), load, {}, ["_topk"]).invalid[0].sentence
    assert judge(many(), load, {}, []).invalid == []


@pytest.mark.parametrize(("pause_ms", "itl_ms", "compiled"), [(600, 59, True), (600, 61, False), (0, 5, False)])
def test_an_unexplained_pause_of_an_engine_that_compiles_on_demand_is_a_compilation(pause_ms, itl_ms, compiled):
    found = {"longest_unexplained_stall_ms": float(pause_ms), "median_itl_ms": float(itl_ms)}
    judged = judge(many(), run_config().workload, found, compiles_on_demand=True)
    assert [reason.code for reason in judged.invalid] == (["compiled_under_load"] if compiled else [])
    assert [reason.code for reason in judged.warnings] == ["few_samples"]


@pytest.mark.parametrize(
    ("share", "longest_ms", "everybody_ms", "warned"),
    [
        (0.02, 3000, 50, True),
        (0.01, 3000, 50, False),
        (0.02, 3000, 1499, True),
        (0.02, 3000, 1500, False),
        (0.02, 900, 50, False),
    ],
)
def test_replies_that_stand_still_while_others_go_on_are_a_warning(share, longest_ms, everybody_ms, warned):
    found = {"paused_replies": share, "longest_reply_gap_ms": longest_ms, "longest_stall_ms": everybody_ms}
    assert codes(many(), found | {"median_itl_ms": 100.0}) == (set(), {"paused_replies"} if warned else set())


@pytest.mark.parametrize(("share", "warned"), [(0.1, set()), (0.6, {"busy_front_end"})])
def test_a_front_end_at_its_limit_is_a_warning(share, warned):
    assert codes(many(), {"server_frontend_limited": share}) == (set(), warned)


def test_a_load_that_was_ended_early_is_no_measurement_of_it_and_what_was_broken_off_has_not_failed():
    made = many(error=np.array(["ended early"] * 60 + [""] * 60))
    assert codes(made, {"ended_early_s": 4.5, "saturated": 1.0}) == ({"ended_early"}, {"saturated"})


@pytest.mark.parametrize(
    ("cores", "used", "told"),
    [
        (2, 1, "host of 2 cores: more processes do not help"),
        (16, 2, "workload.client_processes=4, then rerun=invalid"),
        (16, 6, "workload.client_processes=8, then rerun=invalid"),
        (16, 8, "more processes do not help"),
    ],
)
def test_a_client_without_cpu_is_told_a_number_of_processes_or_that_more_do_not_help(cores, used, told):
    where = {"server_cores": list(range(cores)), "client_cores": list(range(cores))}
    said = find_remedy("lagging_client", where, {"client_processes": used})
    assert told in said
    assert ("set workload.client_processes" in said) == ("more processes" not in said)
    assert find_remedy("lagging_client", {}, {}) == REMEDY["lagging_client"]
    assert find_remedy("short_replies", where, {"client_processes": used}) == REMEDY["short_replies"]


def test_every_reason_to_call_a_run_invalid_says_what_to_do():
    rules = re.search(r"invalid = \((.*?)\n    \)\n", inspect.getsource(judge), re.DOTALL)
    codes = [
        code
        for rule in re.findall(r"\b([a-z_]+)\(", rules[1])
        for code in re.findall(r'Reason\(\s*"(\w+)"', inspect.getsource(getattr(validity, rule)))
    ]
    assert len(codes) >= 12
    assert not set(codes) - REMEDY.keys()


@pytest.mark.parametrize(("together", "verdict"), [(24, set()), (25, {"buffered_replies"})])
def test_20_chunks_of_100_may_come_with_the_one_before(together, verdict):
    gaps = np.where(np.arange(120) < together, 0.0001, 0.0002)  # seconds
    made = requests(*([(1.0, 1), (1.0 + gap, 1)] for gap in gaps - 1e-9))
    assert codes(made)[0] == verdict


def test_a_run_without_any_token_is_no_measurement():
    assert codes(requests(*([] for _ in range(120))))[0] == {"no_tokens"}


@pytest.mark.parametrize(("counted", "warned"), [(8 * 120, False), (8 * 120 + 9, False), (28 * 120, True), (100, True)])
def test_prompts_that_the_server_counts_otherwise_are_a_warning(counted, warned):
    found = {"total_input_tokens": 8 * 120, "usage_input_tokens": counted}
    _, warnings = codes(many(), found)
    assert ("added_prompt_tokens" in warnings) == warned


@pytest.mark.parametrize(("counted", "warned"), [(990, False), (989, True), (1010, False), (1011, True)])
def test_1_prompt_token_of_100_may_be_counted_otherwise(counted, warned):
    found = {"total_input_tokens": 1000, "usage_input_tokens": counted}
    assert ("added_prompt_tokens" in codes(many(), found)[1]) == warned
