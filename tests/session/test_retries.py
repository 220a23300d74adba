"""How often a run is measured again, by what was wrong with it: no server is started for it."""

import asyncio
from types import SimpleNamespace

import pytest
from builders import requests, run_config

from vbench.metrics.remedies import find_remedy
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.record import Reason, Record
from vbench.session import measuring, probing
from vbench.session.measuring import measure_until_trusted

(SESSION,) = plan([(check_run(run_config(workload={"num_prompts": 4})), "vllm 1")])
RUN = SESSION.runs[0]


def measured(tmp_path, *attempts):
    """The record of a run whose attempts find these codes, "-" marking a warning; and how often it was measured."""
    seen = []

    async def measure_once():
        attempt = len(seen)
        seen.append(attempt)
        codes = attempts[min(attempt, len(attempts) - 1)].split()
        invalid = [Reason(code, code) for code in codes if not code.startswith("-")]
        warnings = [Reason(code[1:], code) for code in codes if code.startswith("-")]
        (tmp_path / RUN.folder).mkdir(exist_ok=True)
        return Record(
            run_key=RUN.key, session="s", name="n", experiment="e", started_at="2026-01-01T00:00:00+00:00",
            ended_at="2026-01-01T00:01:00+00:00", config={}, environment={}, invalid=invalid, warnings=warnings,
        )  # fmt: skip

    context = SimpleNamespace(folder_of=lambda run: tmp_path / run.folder)
    record = asyncio.run(measure_until_trusted(context, None, RUN, measure_once))
    return record, len(seen)


@pytest.mark.parametrize(
    ("found", "times"),
    [
        ("", 1),
        ("compiled_under_load", 3),
        ("-compiled_under_load", 3),
        ("-stalled_unexplained", 2),
        ("lagging_client", 2),
        ("late_client", 2),
        ("starved_host", 2),
        ("-contended_host", 1),
        ("buffered_replies", 2),
        ("failed_requests", 1),
        ("-few_samples", 1),
        # Another reason makes the run INVALID anyway, however often it is measured.
        ("compiled_under_load failed_requests", 1),
        # Requests pile up while the engine compiles; without that, the load outgrew the server.
        ("compiled_under_load ended_early", 3),
        ("starved_host ended_early", 2),
        ("lagging_client ended_early", 1),
    ],
)
def test_a_run_is_measured_again_as_often_as_its_reasons_are_worth(tmp_path, found, times):
    record, count = measured(tmp_path, found)
    assert count == times
    assert ("measured_again" in {reason.code for reason in record.warnings}) is (times > 1)


def test_each_reason_has_tries_of_its_own_but_a_run_is_measured_three_times_at_most(tmp_path):
    assert measured(tmp_path, "lagging_client", "late_client", "buffered_replies", "")[1] == 3


def test_a_run_that_is_clean_at_last_names_the_folders_of_the_measurements_before(tmp_path):
    record, count = measured(tmp_path, "compiled_under_load", "lagging_client", "")
    assert count == 3
    assert record.verdict == "VALID"
    (reason,) = record.warnings
    assert f"{RUN.folder}.1 (compiled_under_load); {RUN.folder}.2 (lagging_client)" in reason.sentence


@pytest.mark.parametrize(
    ("codes", "lag_s", "outgrown"),
    [
        ("ended_early", 0.0, True),
        ("ended_early failed_requests", 0.0, True),
        ("ended_early compiled_under_load", 0.0, False),
        ("ended_early starved_host", 0.0, False),
        ("ended_early late_client", 0.0, False),
        ("ended_early buffered_replies", 0.0, False),
        ("ended_early lagging_client", 1.0, False),
        ("ended_early lagging_client", 0.001, True),  # of a TTFT of 500 ms
        ("ended_early lagging_client starved_host", 0.001, False),
    ],
)
def test_a_probe_that_ended_early_decides_its_level_unless_server_or_client_were_disturbed(codes, lag_s, outgrown):
    found = [Reason(code, "") for code in codes.split()]
    config = {"workload": {"slo": {"ttft_ms": 500.0, "tpot_ms": None}}}
    metrics = {"ended_early_s": 3.0, "client_loop_lag_p99_s": lag_s}
    probe = SimpleNamespace(metrics=metrics, invalid=found, config=config, failure=None)
    assert probing._is_saturated(probe, requests([(0.1, 1), (0.2, 1)])) is outgrown
    probe.metrics = metrics | {"client_loop_lag_p99_s": 0.0, "client_ttft_lag_p99_s": lag_s}
    assert probing._is_saturated(probe, requests([(0.1, 1), (0.2, 1)])) is outgrown


def test_a_search_that_could_trust_no_probe_says_what_disturbed_them_and_how():
    starved, late, early = Reason("starved_host", "a"), Reason("late_client", "b"), Reason("ended_early", "c")
    probes = [(4.0, []), (2.0, [starved, early]), (2.0, [Reason("starved_host", "d")]), (1.0, [late]), (3.0, [late])]
    found = probing.explain_untrusted([1.0, 2.0], probes)
    assert [reason.code for reason in found] == ["untrusted_probes", "starved_host", "late_client"]
    assert "no probe of 1, 2 could be trusted" in found[0].sentence
    assert [reason.sentence for reason in found[1:]] == ["the probe of 2: d", "the probe of 1: b"]
    assert all(find_remedy(reason.code, {}, {}) for reason in found)
    assert probing.explain_untrusted([], probes) == []


@pytest.mark.parametrize(
    ("load", "probe", "rate"),
    [
        ({"request_rate": 8.0, "max_concurrency": 4}, True, float("inf")),  # the rate only fills the places
        ({"request_rate": 8.0, "max_concurrency": 4}, False, 8.0),
        ({"request_rate": 8.0}, True, 8.0),
    ],
)
def test_the_rate_at_which_a_probe_fills_its_places_is_not_held_against_it(load, probe, rate):
    early_end = SimpleNamespace(metrics={}) if probe else None
    assert measuring._judged_load(run_config(workload=load).workload, early_end).request_rate == rate


def test_a_search_carries_what_its_probes_leave_open():
    warned = [Reason("few_samples", "a"), Reason("others_unknown", "b")]
    probes = [SimpleNamespace(warnings=each) for each in ([], warned, warned)]
    assert probing.find_qualifying(probes) == [Reason("others_unknown", "b")]
