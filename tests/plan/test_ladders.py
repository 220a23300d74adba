import dataclasses

import pytest
from builders import run_config

from vbench.plan.ladders import find_smaller_oom, order_by_demand
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import to_plain
from vbench.schema.failures import MEANING
from vbench.schema.record import Failure, Record

OOM = Failure("oom_kv", "No available memory for the cache blocks.")


def sessions(*engines, hardware=None, loads=(10,)):
    """One session of the tiny model for each of these engines."""
    runs = [
        check_run(
            run_config(engine={"weights": "dummy", **engine}, hardware=hardware or {}, workload={"num_prompts": n})
        )
        for engine in engines
        for n in loads
    ]
    return plan((run, "vllm 0.26.0") for run in runs)


def record(session, failure=None, engine_version="vllm 0.26.0"):
    run = session.runs[0]
    return Record(
        run_key=run.key,
        session=session.folder,
        name=run.name,
        experiment=session.experiment,
        started_at="",
        ended_at="",
        config=to_plain(run.config),
        environment={"engine": engine_version},
        failure=failure,
    )


def rungs(*lengths, **engine):
    return sessions(*({"max_model_len": length, **engine} for length in lengths))


def test_the_rungs_of_a_ladder_take_its_places_from_below_and_others_keep_theirs():
    other = {"max_model_len": 2000, "enforce_eager": True}
    asked = sessions({"max_model_len": 4000}, other, {"max_model_len": "auto"}, {"max_model_len": 2000})
    large, other, auto, small = asked
    assert order_by_demand(asked) == [small, other, large, auto]


def test_what_asks_for_more_than_what_ran_out_of_memory_is_skipped_and_the_reason_names_that_run():
    small, large = rungs(2000, 4000)
    failure = find_smaller_oom(large, "vllm 0.26.0", [record(small, OOM)])
    assert failure.kind == "skipped_larger"
    assert failure.line == (
        f"tiny · cpu · tp1 · max_model_len=2000 · 10 prompts ({small.folder}) failed with max_model_len=2000: oom_kv: "
        "No available memory for the cache blocks."
    )


def test_more_sequences_at_once_are_more_too_but_not_together_with_a_shorter_context():
    base, more = sessions({"max_num_seqs": 64}, {"max_num_seqs": 128})
    assert find_smaller_oom(more, "vllm 0.26.0", [record(base, OOM)])
    (shorter,) = sessions({"max_num_seqs": 128, "max_model_len": 1900})
    assert find_smaller_oom(shorter, "vllm 0.26.0", [record(base, OOM)]) is None


def test_a_demand_that_was_met_says_nothing_of_larger_ones():
    small, large = rungs(2000, 4000)
    assert find_smaller_oom(large, "vllm 0.26.0", [record(small)]) is None


def test_a_smaller_one_is_not_skipped_nor_one_that_fits_itself():
    small, large = rungs(2000, 4000)
    assert find_smaller_oom(small, "vllm 0.26.0", [record(large, OOM)]) is None
    (auto,) = rungs("auto")
    assert find_smaller_oom(auto, "vllm 0.26.0", [record(small, OOM)]) is None


def test_one_that_ran_out_of_memory_under_a_load_had_started():
    (small,) = sessions({"max_model_len": 2000}, loads=(10, 20))
    (large,) = rungs(4000)
    died = dataclasses.replace(record(small, OOM), run_key="other")
    assert find_smaller_oom(large, "vllm 0.26.0", [died, record(small)]) is None
    assert find_smaller_oom(large, "vllm 0.26.0", [died])


def test_another_engine_version_or_another_option_is_another_ladder():
    small, large = rungs(2000, 4000)
    assert find_smaller_oom(large, "vllm 0.27.0", [record(small, OOM)]) is None
    (eager,) = rungs(4000, enforce_eager=True)
    assert find_smaller_oom(eager, "vllm 0.26.0", [record(small, OOM)]) is None
    (more_memory,) = rungs(4000, gpu_memory_utilization=0.97)
    assert find_smaller_oom(more_memory, "vllm 0.26.0", [record(small, OOM)]) is None


@pytest.mark.parametrize("demand", ["max_model_len", "max_num_seqs", "max_num_batched_tokens"])
def test_each_demand_on_memory_is_a_rung_and_an_equal_one_would_fail_too(demand):
    small, large = sessions({demand: 2000}, {demand: 2001})
    assert find_smaller_oom(large, "vllm 0.26.0", [record(small, OOM)])
    assert find_smaller_oom(small, "vllm 0.26.0", [record(large, OOM)]) is None
    equal = dataclasses.replace(record(small, OOM), session="another")
    assert find_smaller_oom(small, "vllm 0.26.0", [equal])
    assert order_by_demand([large, small]) == [small, large]


def test_a_session_is_not_judged_by_its_own_record():
    (small,) = rungs(2000)
    assert find_smaller_oom(small, "vllm 0.26.0", [record(small, OOM)]) is None


@pytest.mark.parametrize("kind", MEANING)
def test_only_running_out_of_memory_says_something_of_larger_demands(kind):
    small, large = rungs(2000, 4000)
    told = find_smaller_oom(large, "vllm 0.26.0", [record(small, Failure(kind, ""))])
    assert bool(told) is (kind in {"oom_load", "oom_kv"})
