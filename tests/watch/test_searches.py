"""What people read of a search, and what its probes do to the exit code."""

from dataclasses import replace

import pytest
from builders import run_config

from vbench.schema import to_plain
from vbench.schema.record import Reason, Record
from vbench.session.probing import explain_untrusted
from vbench.watch.outcome import advice, exit_code, result_line, summary
from vbench.watch.searches import answer_line, answer_lines, probe_line


def record(metrics, parent=None, invalid=(), **workload):
    config = run_config(workload={"slo": {"ttft_ms": 500.0, "tpot_ms": 50.0}, **workload})
    return Record(
        run_key="key", session="session", name="tiny · slo", experiment="default", started_at="", ended_at="",
        config=to_plain(config), environment={}, metrics=metrics, parent=parent,
        invalid=[Reason(code, code) for code in invalid],
    )  # fmt: skip


FOUND = {"slo_max_concurrency": 22.0, "probes": 9, "slo_level_failed": 23.0,
         "slo_p99_ttft_ms": 300.0, "slo_p99_tpot_ms": 51.5}  # fmt: skip
PROBED = {"slo_level": 24.0, "slo_level_passed": 16.0, "slo_level_failed": 24.0, "slo_steady_requests": 350.0,
          "slo_steady_met": 340.0, "slo_p99_ttft_ms": 300.0, "slo_p99_tpot_ms": 51.5}  # fmt: skip


def test_the_answer_names_the_level_the_objectives_and_what_binds_above_it():
    assert answer_line(record(FOUND)) == ("22 at once meets TTFT ≤ 500 ms, TPOT ≤ 50 ms; 23 misses: TPOT p99 51.5 ms")


def test_the_answer_tells_between_which_levels_the_capacity_lies():
    found = {**FOUND, "slo_capacity_low": 20.14, "slo_capacity_high": 24.0}
    assert answer_line(record(found)).endswith("TPOT p99 51.5 ms; 99 % met up to 20.1–24 (90 % sure)")


def test_the_answer_tells_of_a_moment_that_may_have_made_it_too_low():
    line = answer_line(record({**FOUND, "slo_failed_in_one_moment": 1.0}))
    assert line.endswith("p99 51.5 ms, in one moment only: if the engine paused then, the answer is too low")


@pytest.mark.parametrize("failed", [{}, {"slo_level_failed": None}])
def test_the_answer_tells_which_probe_was_set_aside(failed):
    found = {key: value for key, value in {**FOUND, **failed, "slo_level_set_aside": 16.0}.items() if value is not None}
    assert answer_line(record(found)).endswith("; a probe of 16 that missed in one moment only was set aside")


def test_a_probe_tells_how_many_requests_the_search_may_still_take():
    line = probe_line(record({**PROBED, "slo_requests_left": 7400.0}, parent="key", max_concurrency=24))
    assert line.endswith("; the answer is between 16 and 24 so far, at most 7,400 more requests")


def test_the_answer_of_a_rate():
    found = {**FOUND, "slo_request_rate": 2.5, "slo_level_failed": 2.625, "slo_p99_ttft_ms": 912.0}
    del found["slo_max_concurrency"]
    assert answer_line(record(found)).startswith("2.5 requests/s meets TTFT ≤ 500 ms")
    assert answer_line(record(found)).endswith("2.625 misses: TTFT p99 912.0 ms")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"slo_max_concurrency": 0.0, "slo_level_failed": 1.0}, "no level meets TTFT ≤ 500 ms, TPOT ≤ 50 ms; 1 misses"),
        ({"slo_max_concurrency": 8192.0, "slo_level_failed": None}, "8192 at once meets TTFT ≤ 500 ms, TPOT ≤ 50 ms"),
    ],
)
def test_the_answer_at_either_end(changed, line):
    found = {key: value for key, value in {**FOUND, **changed}.items() if value is not None}
    assert answer_line(record(found)).startswith(line)


def test_a_probe_tells_level_share_binding_objective_and_bracket():
    line = probe_line(record(PROBED, parent="key", max_concurrency=24))
    assert line.startswith("97.1% of 350 steady requests met the SLO, TPOT p99 51.5 ms")
    assert "between 16 and 24" in line
    assert line in result_line(record(PROBED, parent="key", max_concurrency=24))


def test_a_probe_that_ended_early_has_no_share():
    ended = {"slo_level": 8.0, "slo_level_passed": 4.0, "slo_steady_requests": 0, "slo_steady_met": 0}
    line = probe_line(record(ended, parent="key", request_rate=8.0))
    assert line == "no steady request; the answer is above 4 so far, 8 is undecided"


@pytest.mark.parametrize(
    ("bracket", "told"),
    [
        ((16.0, None), "the answer is above 16 so far, 64 is undecided"),
        ((16.0, 80.0), "the answer is between 16 and 80 so far, 64 is undecided"),
        ((16.0, 64.0), "the answer is between 16 and 64 so far"),
        ((64.0, None), "the answer is above 64 so far"),
    ],
)
def test_a_level_whose_probe_decided_nothing_is_not_an_end_of_the_bracket(bracket, told):
    ends = dict(zip(("slo_level_passed", "slo_level_failed"), bracket, strict=True))
    found = {key: value for key, value in {**PROBED, "slo_level": 64.0, **ends}.items() if value is not None}
    assert probe_line(record(found, parent="key", invalid=["late_client"])).endswith(f"; {told}")


def test_the_exit_code_follows_the_search_and_not_its_probes():
    invalid_probe = record(PROBED, parent="key", invalid=["late_client"], max_concurrency=24)
    assert exit_code([invalid_probe, record(FOUND)]) == 0
    assert exit_code([record(FOUND, invalid=["untrusted_probes"])]) == 1
    assert list(advice([invalid_probe, record(FOUND)])) == []


def test_answers_are_those_of_searches_and_say_where_they_are_not_trusted():
    others = [record(PROBED, parent="key", max_concurrency=24), record({"output_throughput": 3.0})]
    assert answer_lines([*others, record(FOUND)]) == [f"tiny · slo: {answer_line(record(FOUND))}"]
    for found in (FOUND, {key: value for key, value in FOUND.items() if key != "slo_level_failed"}):
        search = replace(record(found), invalid=explain_untrusted([64.0], []))
        (line,) = answer_lines([search])
        assert line.endswith("; no probe of 64 could be trusted, so the answer may be higher (INVALID)")
        assert "misses" not in line


def test_a_search_of_which_no_probe_could_be_trusted_has_no_answer_and_not_the_answer_none():
    none = {**FOUND, "slo_max_concurrency": 0.0, "slo_level_failed": 1.0}
    line = answer_line(record(none, invalid=["untrusted_probes", "starved_host"]))
    assert line.startswith("no answer: ")
    assert "misses" not in line
    assert answer_line(record(none)).startswith("no level meets ")


def test_a_level_that_misses_is_told_by_an_objective_only_if_that_is_beyond_its_limit():
    within = FOUND | {key: 1.0 for key in FOUND if key.startswith("slo_p99_")}
    assert "p99" not in answer_line(record(within))


def test_a_verdict_that_others_may_have_changed_says_so_wherever_it_stands():
    unwatched = [Reason("others_unknown", "x"), Reason("few_samples", "y")]
    search = replace(record(FOUND), warnings=unwatched)
    assert answer_lines([search]) == [f"tiny · slo: {answer_line(search)} (VALID, other load cannot be told)"]
    assert result_line(search).endswith("[green]VALID, other load cannot be told[/]")
    run = replace(record({"output_throughput": 3.0, "median_ttft_ms": 2.0}), warnings=unwatched)
    assert result_line(run).endswith("[green]VALID, other load cannot be told[/]")
    invalid = replace(run, invalid=[Reason("late_client", "z")])
    assert result_line(invalid).endswith("[yellow]INVALID[/]")
    table = next(iter(summary([run])))
    assert [*table.columns[-1].cells] == ["[green]VALID, other load cannot be told[/] "]
    repeats = [replace(run, config=run_with_seed(seed)) for seed in range(2)]
    table = next(iter(summary([*repeats, replace(invalid, config=run_with_seed(2))])))
    assert [*table.columns[-1].cells] == ["[yellow]2 of 3 VALID, other load cannot be told[/] late_client"]


def run_with_seed(seed):
    return record(FOUND, seed=seed).config
