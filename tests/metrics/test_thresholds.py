"""Each threshold of a verdict: one input just inside it, one just outside."""

from dataclasses import replace

import numpy as np
import pytest
from builders import requests, run_config

from vbench.metrics.server_rules import COUNTERS
from vbench.metrics.validity import judge

PACED = {"request_rate": 10.0}


def codes(made, found=None, **load):
    judged = judge(made, run_config(workload=load).workload, found or {})
    return {reason.code for reason in (*judged.invalid, *judged.warnings)} - {"few_samples"}


def many(n=120, **columns):
    return requests(*([(1.0, 1), (1.1, 1)] for _ in range(n)), **columns)


@pytest.mark.parametrize(("late_s", "verdict"), [(0.010, set()), (0.0101, {"late_client"})])
def test_sends_may_be_10_ms_late(late_s, verdict):
    assert codes(many(scheduled=np.full(120, -late_s)), **PACED) == verdict


@pytest.mark.parametrize(("late", "verdict"), [(1, set()), (3, {"late_client"})])
def test_lateness_is_judged_at_its_99th_percentile(late, verdict):
    assert codes(many(scheduled=np.array([-0.5] * late + [0.0] * (120 - late))), **PACED) == verdict


def test_lateness_is_no_fault_where_nothing_is_paced():
    assert codes(many(scheduled=np.full(120, -0.5))) == set()


def bounded(scheduled, places, takes_s, late_s=0.0):
    """Requests of so many seconds each, sent when they are due and one of the places is free, or so much later."""
    sent, finished = [], []
    for number, due in enumerate(scheduled):
        free_at = sorted(finished)[-places] if number >= places else due
        sent.append(max(due, free_at) + late_s)
        finished.append(sent[-1] + takes_s)
    replies = [[(end - 0.1, 1), (end, 1)] for end in finished]
    return requests(*replies, sent=sent, scheduled=np.array(scheduled))


@pytest.mark.parametrize(("late_s", "verdict"), [(0.0, set()), (0.0099, set()), (0.0101, {"late_client"})])
@pytest.mark.parametrize(
    "scheduled",
    [
        np.arange(120) * 0.25,  # four places of a second bear just that
        np.arange(120) * 1.0,  # and with more time between them there is always a place free
        np.repeat(np.arange(12) * 5.0, 10),  # bursts of ten wait up to 2 s for one of the places, by design
    ],
)
def test_a_request_may_be_sent_10_ms_after_it_was_due_and_a_place_was_free(scheduled, late_s, verdict):
    assert codes(bounded(scheduled, 4, 1.0, late_s), max_concurrency=4, **PACED) == verdict


@pytest.mark.parametrize("processes", [1.0, 2.0])
def test_whether_a_place_was_free_does_not_depend_on_the_number_of_load_processes(processes):
    made = bounded(np.arange(200) * 0.05, 19, 1.0)  # sent late, though 20 are allowed
    judged = judge(
        made, run_config(workload={"max_concurrency": 20, **PACED}).workload, {"client_processes": processes}
    )
    (late,) = judged.invalid
    assert late.code == "late_client"
    assert late.sentence.endswith("with some of the 20 places free")


@pytest.mark.parametrize(
    ("late_s", "ttft_ms", "late"),
    [(0.1, 0.0, False), (0.101, 0.0, True), (0.101, 404.1, False), (1.0, 4000.0, False), (1.01, 4000.0, True)],
)
@pytest.mark.parametrize("asked", [{}, {"max_concurrency": 400}])
def test_a_burst_is_one_where_its_requests_are_sent_together(late_s, ttft_ms, late, asked):
    """A load process that stood still as the load began: its requests met a shorter queue."""
    sent = np.where(np.arange(400) < 390, 0.001, late_s)
    found = codes(many(400, scheduled=np.zeros(400), sent=sent), {"median_ttft_ms": ttft_ms}, **asked)
    assert ("late_client" in found) == (late and not asked)


@pytest.mark.parametrize(("took_s", "slow"), [(100.0, False), (100.1, True)])
def test_arrivals_may_take_1_part_in_20_longer(took_s, slow):
    made = many(20, scheduled=np.linspace(0, 95, 20), sent=np.linspace(0, took_s, 20))
    assert ("slow_arrivals" in codes(made, **PACED)) is slow


@pytest.mark.parametrize(("n", "slow"), [(19, False), (20, True)])
def test_the_rate_of_few_arrivals_is_not_judged(n, slow):
    made = many(n, scheduled=np.linspace(0, 10, n), sent=np.linspace(0, 20, n))
    assert ("slow_arrivals" in codes(made, **PACED)) is slow
    by_places = bounded(np.linspace(0, 10, n), 4, 5.0)  # twice the time that it takes until they are due
    held = judge(by_places, run_config(workload={"max_concurrency": 4, **PACED}).workload, {})
    assert (
        "held_arrivals" in [each.code for each in held.warnings]
    ) is slow  # not the client's fault, but no such rate
    assert held.invalid == []
    assert not {"slow_arrivals", "held_arrivals"} & codes(made)
    assert "held_arrivals" not in codes(made, **PACED)


def test_a_request_that_was_never_sent_does_not_stretch_the_arrivals():
    sent = np.linspace(0, 10, 30)
    sent[-1] = np.nan
    made = many(30, scheduled=np.linspace(0, 10, 30), sent=sent, error=np.array([""] * 29 + ["refused"]))
    assert "slow_arrivals" not in codes(made, **PACED)


@pytest.mark.parametrize(
    ("empty", "verdict"), [(0, set()), (10, set()), (11, {"empty_replies"}), (1000, {"no_tokens"})]
)
def test_1_reply_of_100_may_bring_no_token(empty, verdict):
    made = requests(*([] for _ in range(empty)), *([(1.0, 1), (1.1, 1)] for _ in range(1000 - empty)))
    assert codes(made) == verdict


@pytest.mark.parametrize(("lag_s", "verdict"), [(0.005, set()), (0.0051, {"lagging_client"})])
def test_the_clients_loop_may_lag_half_a_median_itl(lag_s, verdict):
    assert codes(many(), {"client_loop_lag_p99_s": lag_s, "median_itl_ms": 10.0}) == verdict


@pytest.mark.parametrize(("lag_s", "verdict"), [(0.05, set()), (0.0501, {"lagging_client"})])
def test_a_lag_is_judged_by_the_ttft_where_there_is_no_itl(lag_s, verdict):
    assert codes(many(), {"client_loop_lag_p99_s": lag_s, "median_ttft_ms": 100.0}) == verdict


@pytest.mark.parametrize(("lag_s", "verdict"), [(0.05, set()), (0.0501, {"lagging_client"})])
def test_a_lag_as_first_tokens_come_may_be_half_a_median_ttft_however_short_it_lasts(lag_s, verdict):
    """A client that stands still for 1 s of 2 minutes, as all requests get their first token: each TTFT is wrong."""
    found = {"client_loop_lag_p99_s": 0.001, "median_itl_ms": 10.0, "median_ttft_ms": 100.0}
    assert codes(many(), found | {"client_ttft_lag_p99_s": lag_s}) == verdict


def test_a_lag_is_not_judged_without_a_token():
    assert codes(many(), {"client_loop_lag_p99_s": 9.0}) == set()


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (0.0499, set()),
        (0.05, {"contended_host"}),
        (0.0999, {"contended_host"}),
        (0.10, {"starved_host"}),
        (1.0, {"starved_host"}),
    ],
)
def test_a_server_may_wait_for_a_cpu_for_5_percent_of_the_run_and_with_a_warning_for_10(share, verdict):
    assert codes(many(), {"server_starved_share": share}) == verdict


@pytest.mark.parametrize(
    ("share", "by_client", "verdict"),
    [
        (0.0, 0.0499, set()),
        (0.0, 0.9, {"contended_host"}),
        (0.03, 0.03, {"contended_host"}),
        (0.099, 0.9, {"contended_host"}),
        (0.1, 0.9, {"starved_host"}),
    ],
)
def test_a_client_that_shares_the_servers_cores_is_warned_of(share, by_client, verdict):
    shares = {"server_starved_share": share, "server_starved_by_client_share": by_client, "host_cpu_client_share": 0.5}
    assert codes(many(), shares) == verdict
    for reason in judge(many(), run_config().workload, shares).warnings:
        assert reason.code == "few_samples" or "the load client" in reason.sentence


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("host_cpu_others_share", "other processes used 40% of its cores"),
        ("host_cpu_stolen_share", "other virtual machines were given 40% of its cores"),
        ("server_cpu_throttled_share", "quota of its control group was used up for 40% of the time"),
    ],
)
def test_a_starved_server_is_told_with_what_took_most_of_its_time(key, said):
    found = {"server_starved_share": 0.3, "host_cpu_others_share": 0.1, "host_cpu_stolen_share": 0.2} | {key: 0.4}
    (reason,) = judge(many(), run_config().workload, found).invalid
    assert "for 30% of the run" in reason.sentence
    assert said in reason.sentence


@pytest.mark.parametrize(("hits", "verdict"), [(100.0, set()), (101.0, {"prefix_cache_hits"})])
def test_one_prompt_token_of_100_may_come_from_the_prefix_cache(hits, verdict):
    assert codes(many(), {"server_prefix_cache_hits": hits, "server_prefix_cache_queries": 10_000.0}) == verdict


@pytest.mark.parametrize(
    ("theirs", "cause"),
    [(990, None), (989, "lost on the way"), (1010.05, None), (1011, "somebody else"), (1000, None)],
)
def test_the_servers_token_count_may_differ_by_1_percent_of_the_larger(theirs, cause):
    judged = judge(many(500), run_config().workload, {"server_generation_tokens": float(theirs)})
    assert [reason.code for reason in judged.invalid] == ([] if cause is None else ["token_mismatch"])
    assert all(cause in reason.sentence for reason in judged.invalid)


@pytest.mark.parametrize(("theirs", "fits"), [(1000 + 10.1 + 4, True), (1016, False), (991, True), (989, False)])
def test_the_server_may_have_made_tokens_that_a_broken_off_request_never_read(theirs, fits):
    asked = np.array([2] * 498 + [4, 4])
    made = many(500, asked_tokens=asked, error=np.array([""] * 498 + ["ended early"] * 2))
    assert ("token_mismatch" not in codes(made, {"server_generation_tokens": float(theirs)})) is fits


SEEN = {"requests": "server_requests_finished", "prompt tokens": "server_prompt_tokens"}


@pytest.mark.parametrize(
    ("what", "theirs", "others"),
    [
        ("requests", 505, False),
        ("requests", 506, True),
        ("requests", 400, False),
        ("prompt tokens", 5050, False),
        ("prompt tokens", 5051, True),
        ("prompt tokens", 4000, False),
    ],
)
def test_the_server_may_count_1_percent_more_requests_and_prompt_tokens_than_were_sent(what, theirs, others):
    made = many(500, usage_input_tokens=np.full(500, 10))  # 8 tokens were sent, its chat template adds 2
    judged = judge(made, run_config().workload, {SEEN[what]: float(theirs)})
    assert [reason.code for reason in judged.invalid] == ["other_requests"] * others
    assert all(f"counted {theirs:,} {what} where" in reason.sentence for reason in judged.invalid)


@pytest.mark.parametrize(("theirs", "others"), [(4040, False), (4041, True)])
@pytest.mark.parametrize("usage", [[8] * 500, [8] * 400 + [0] * 100])
def test_a_request_that_was_sent_and_failed_may_have_been_counted(theirs, others, usage):
    failed = np.array([""] * 400 + ["reset"] * 100)
    made = many(500, error=failed, usage_input_tokens=np.array(usage))
    found = {"server_prompt_tokens": float(theirs), "server_requests_finished": 500.0}
    assert ("other_requests" in codes(made, found)) is others


def test_a_request_that_was_never_sent_is_not_counted():
    sent = np.array([0.0] * 100 + [np.nan] * 20)
    made = many(sent=sent, error=np.array([""] * 100 + ["refused"] * 20), usage_input_tokens=np.full(120, 8))
    assert "other_requests" in codes(made, {"server_requests_finished": 102.0})
    assert "other_requests" in codes(made, {"server_prompt_tokens": 810.0})
    assert "other_requests" not in codes(made, {"server_prompt_tokens": 808.0, "server_requests_finished": 101.0})


@pytest.mark.parametrize("usage", [np.zeros(120, np.int64), np.empty(0, np.int64)])
def test_prompt_tokens_are_not_compared_where_no_usage_tells_how_the_server_counts_them(usage):
    assert codes(many(usage_input_tokens=usage), {"server_prompt_tokens": 9999.0}) == set()


@pytest.mark.parametrize(("failed", "invalid", "warned"), [(0, [], []), (1, ["failed_requests"], ["few_samples"])])
def test_299_answers_are_needed_for_a_p99_and_no_failure_is_allowed(failed, invalid, warned):
    judged = judge(many(299, error=np.array(["http 500"] * failed + [""] * (299 - failed))), run_config().workload, {})
    assert [[reason.code for reason in reasons] for reasons in (judged.invalid, judged.warnings)] == [invalid, warned]


def test_the_most_frequent_error_is_named():
    made = many(error=np.array(["http 404"] + ["reset"] * 2 + [""] * 117))
    (reason,) = judge(made, run_config().workload, {}).invalid
    assert reason.sentence == "3 of 120 requests failed, most with: reset"


@pytest.mark.parametrize(("merged", "verdict"), [(10, set()), (11, {"merged_tokens"})])
def test_5_chunks_of_100_may_bring_several_tokens(merged, verdict):
    assert codes(many(100, chunk_tokens=np.array([2] * merged + [1] * (200 - merged)))) == verdict


@pytest.mark.parametrize(("whole", "invalid"), [(20, False), (21, True), (100, True)])
def test_1_reply_of_5_may_come_whole_and_has_a_tpot_of_0(whole, invalid):
    streamed, one_token = [(1.0, 1), (1.1, 1)], [(1.0, 1)]
    made = requests(*([(1.1, 2)] for _ in range(whole)), *(streamed for _ in range(100 - whole)), *[one_token] * 50)
    assert ("buffered_replies" in codes(made)) is invalid
    failed = replace(made, error=np.array(["reset"] * whole + [""] * (150 - whole)))
    assert "buffered_replies" not in codes(failed)


@pytest.mark.parametrize(("share", "verdict"), [(0.199, set()), (0.2, {"busy_front_end"})])
def test_a_front_end_may_be_at_its_limit_for_less_than_a_fifth_of_the_run(share, verdict):
    assert codes(many(), {"server_frontend_limited": share}) == verdict


@pytest.mark.parametrize(("asked", "verdict"), [(2, set()), (3, {"short_replies"})])
def test_a_reply_may_not_be_a_token_short_where_eos_is_ignored(asked, verdict):
    assert codes(many(asked_tokens=np.array([2] * 119 + [asked]))) == verdict


def test_a_failed_reply_is_not_short_as_well():
    made = many(asked_tokens=np.array([9] + [2] * 119), error=np.array(["reset"] + [""] * 119))
    assert codes(made) == {"failed_requests"}


@pytest.mark.parametrize(
    ("fact", "code"), [("server_requests_before", "other_requests"), ("server_preemptions", "preemptions")]
)
def test_one_is_too_many(fact, code):
    assert codes(many(), {fact: 0.0}) == set()
    assert codes(many(), {fact: 1.0}) == {code}


@pytest.mark.parametrize("cause", ["prefill", "unexplained"])
@pytest.mark.parametrize(
    ("stall_ms", "itl_ms", "warned"), [(999, 10, 0), (1000, 10, 1), (1999, 200, 0), (2000, 200, 1)]
)
def test_a_pause_is_told_from_1_s_and_10_median_itls_on(cause, stall_ms, itl_ms, warned):
    code = {"prefill": "stalled_by_prefill", "unexplained": "stalled_unexplained"}[cause]
    found = {f"longest_{cause}_stall_ms": float(stall_ms), "longest_stall_ms": float(stall_ms), "median_itl_ms": itl_ms}
    assert (code in codes(many(), found)) is bool(warned)


@pytest.mark.parametrize(("share", "verdict"), [(0.01, set()), (0.011, {"paused_replies"})])
def test_one_reply_of_100_may_stand_still_for_over_1_s(share, verdict):
    assert codes(many(), {"paused_replies": share, "longest_reply_gap_ms": 3000.0, "median_itl_ms": 10.0}) == verdict


@pytest.mark.parametrize(("warmup_s", "measured"), [(0.0, True), (0.1, False), (None, True)])
def test_a_run_that_is_all_warm_up_measured_nothing(warmup_s, measured):
    assert ("nothing_measured" in codes(many(), warmup_s=warmup_s)) is not measured


@pytest.mark.parametrize(("last_s", "warned"), [(66.5, False), (66.4, True)])
def test_prompts_may_end_a_twentieth_before_the_duration(last_s, warned):
    made = many(120, sent=np.linspace(0, last_s, 120))
    load = {"duration_s": 60.0, "warmup_s": 10.0, "num_prompts": 120, "max_concurrency": 4}
    assert ("out_of_prompts" in codes(made, **load)) is warned
    assert "out_of_prompts" not in codes(made, **{**load, "num_prompts": 121})
    assert "out_of_prompts" not in codes(made, num_prompts=120)


@pytest.mark.parametrize(
    ("ended_s", "incomplete", "left"),
    [
        ([10.0, 20.0, 67.0, 68.0], [], 2),
        ([10.0, 20.0, 66.4, 68.0], [], 1),  # nobody took the third one's place
        ([10.0, 20.0, 66.4, 68.0], [5], 2),  # who takes it still thinks
        ([10.0, 20.0, 30.0, 40.0], [2, 3], 2),  # both think about their next turn
        ([10.0, 20.0, 30.0, 40.0], [3], 1),
    ],
)
def test_a_load_by_time_tells_where_fewer_sessions_than_asked_were_left(ended_s, incomplete, left):
    made = requests(*([(end, 1)] for end in ended_s), session=np.arange(4))
    load = {"lengths": "conversations", "sessions": 2, "num_prompts": 50, "duration_s": 60.0, "warmup_s": 10.0}
    told = judge(made, run_config(workload=load).workload, {}, incomplete=np.array(incomplete, np.int64)).warnings
    sentences = [each.sentence for each in told if each.code == "out_of_prompts"]
    fewer = (
        f"only {left} of 2 sessions were left after 66.5 of 70 s: the load is smaller than workload.sessions asks for"
    )
    assert sentences == ([] if left == 2 else [f"{fewer}; raise workload.num_prompts"])


@pytest.mark.parametrize(
    ("first_s", "sent_s", "told"),
    [
        ([0.05, 0.06, 0.1], 0.0, "in one moment after one burst, so TTFT has 1 of the 5 samples"),
        ([0.05, 0.06, 0.101], 0.0, "a median needs: set workload.repeats=3 before"),
        ([0.1, 0.2, 0.3, 0.4, 0.401], 0.0, "4 moments"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.501], 0.0, ""),  # 5 samples
        ([0.1, 0.2, 0.3], 0.0, ""),  # each request has a moment of its own: that they are few is said
        ([0.10, 0.11, 0.15], 0.1, "one moment"),
        ([0.10, 0.11, 0.15], 0.101, ""),  # sent when another had been answered: no burst
    ],
)
def test_first_tokens_of_one_step_are_one_sample(first_s, sent_s, told):
    made = requests(*([(first, 1), (first + 0.1, 1)] for first in first_s), sent=[0.0] * (len(first_s) - 1) + [sent_s])
    (warning,) = judge(made, run_config().workload, {}).warnings
    assert warning.code == "few_samples"
    assert ("all first tokens came in" in warning.sentence) is bool(told)
    assert told in warning.sentence


def test_few_samples_counts_what_was_measured():
    sent, load = np.array([0.0] * 20 + [5.0] * 299), run_config(workload={"warmup_s": 1.0}).workload
    assert judge(many(319, sent=sent), load, {}).warnings == []
    assert [each.code for each in judge(many(318, sent=sent[:-1]), load, {}).warnings] == ["few_samples"]


@pytest.mark.parametrize(
    ("found", "usage", "unknown"),
    [
        ({}, 8, True),
        ({"server_preemptions": 0.0, "server_requests_before": 0.0}, 8, True),  # they tell nothing of others
        ({"server_generation_tokens": 240.0}, 8, False),
        ({"server_requests_finished": 120.0}, 8, False),
        ({"server_prompt_tokens": 960.0}, 8, False),
        ({"server_prompt_tokens": 960.0}, 0, True),  # nothing to compare them with
    ],
)
def test_a_server_of_others_is_valid_without_a_word_only_if_its_counters_would_show_them(found, usage, unknown):
    made = many(usage_input_tokens=np.full(120, usage))
    judged = judge(made, run_config().workload, found, is_shared=True)
    assert judged.invalid == []
    assert ("others_unknown" in [reason.code for reason in judged.warnings]) is unknown
    assert "others_unknown" not in codes(made, found)  # it was started for this run


@pytest.mark.parametrize(("asked", "verdict"), [(2, set()), (1, {"long_replies"})])
@pytest.mark.parametrize("ignore_eos", [True, False])
def test_a_reply_may_not_be_a_token_longer_than_was_asked(asked, verdict, ignore_eos):
    made = many(asked_tokens=np.array([2] * 119 + [asked]))
    assert codes(made, ignore_eos=ignore_eos) == verdict
    failed = replace(made, error=np.array([""] * 119 + ["reset"]))
    assert "long_replies" not in codes(failed, ignore_eos=ignore_eos)


@pytest.mark.parametrize("key", COUNTERS)
def test_a_counter_that_fell_is_another_servers(key):
    assert "counters_fell" not in codes(many(), {key: 0.0})
    judged = judge(many(), run_config().workload, {key: -1.0})
    assert [reason.code for reason in judged.invalid] == ["counters_fell"]
    assert judged.invalid[0].sentence.startswith(f"{key.removeprefix('server_')} of the server fell")


@pytest.mark.parametrize(("times", "verdict"), [(1.9, set()), (2.1, {"uneven_replicas"})])
def test_a_replica_may_take_less_than_twice_as_long_a_token_as_another(times, verdict):
    replies = [[(1.0, 1), (1.0 + 0.1 * (times if i % 2 else 1.0), 1)] for i in range(16)]
    replica = np.arange(16) % 2
    assert codes(requests(*replies, replica=replica)) == verdict
    assert codes(requests(*replies)) == set()  # one replica
    few = requests(*replies[:15], replica=replica[:15])  # seven of the slower one
    assert codes(few) == set()
    lost = requests(*replies, replica=replica, error=np.array(["reset"] + [""] * 15))
    assert codes(lost) == {"failed_requests"}


def test_the_slower_replica_is_named():
    made = requests(*[[(1.0, 1), (1.1, 1)]] * 8, *[[(1.0, 1), (1.5, 1)]] * 8, replica=np.repeat([0, 1], 8))
    [warning] = [each for each in judge(made, run_config().workload, {}).warnings if each.code == "uneven_replicas"]
    assert warning.sentence.startswith("replica 1 took 5.0 times as long a token as replica 0 ")
