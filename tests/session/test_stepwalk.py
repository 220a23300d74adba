"""An engine that compiles kernels for each step size: each is rehearsed, within budgets that the record states."""

import pytest
from test_session import executed, session
from test_warm import codes

from vbench.schema import Workload
from vbench.session import stepwalk

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2}
NONE = {"lengths": "none", "input_len": Workload().input_len, "output_len": Workload().output_len}
SIZES = 16  # from 281 to 512: 8 multiples of 32, each divisible by 16 and 7 less
COMPILE_S = 0.5  # well above the noise of a busy host


def walked(folder, cache, *flags, verbose=True, compile_s=COMPILE_S, count=10, **engine):
    """The record of a run of `count` prompts of 50 tokens behind a walk over SIZES, and the log's compiled kernels."""
    given = ("--compile-steps", "--compile-s", str(compile_s), "--captured", "256", "--kernel-cache", str(cache))
    given += ("--jit-monitor-verbose",) if verbose else ()
    options = {"max_num_batched_tokens": 512} | engine
    made = session(*given, *flags, loads=(count,), model=EXPERTS, workload={"input_len": 50}, **options)
    record = executed(made, folder)[count]
    lines = [line for line in (folder / "server.log").read_text().splitlines() if "during inference: " in line]
    return record, [line.partition("constexprs=")[2] for line in lines]


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A first session on a host, and the kernel cache that it left."""
    cache = tmp_path_factory.mktemp("cache")
    return walked(tmp_path_factory.mktemp("cold"), cache), cache


def test_a_cold_cache_is_filled_once_and_no_run_compiles(cold):
    (record, kernels), cache = cold
    facts = record.server
    assert len(set(kernels)) == len(kernels)
    assert len(list(cache.iterdir())) == len(kernels) >= SIZES
    assert facts["kernel_cache"] == "cold"
    assert facts["rehearsal_cold_s"] == pytest.approx(SIZES * COMPILE_S, rel=0.5)
    assert facts["rehearsal_budget_s"] >= facts["rehearsal_cold_s"]
    assert facts["rehearsal_compilations"] == len(kernels)
    assert facts["rehearsal_steps"] == SIZES + 6  # a sample of 6 sizes is sent twice
    assert not {"rehearsal_steps_left_out", "still_compiling"} & facts.keys()
    assert record.metrics["compilations"] == 0
    assert not {"compiled_under_load", "compiled_briefly"} & codes([*record.invalid, *record.warnings])


def test_a_warm_cache_makes_the_walk_short_although_the_log_has_the_same_lines(cold, tmp_path):
    (before, kernels), cache = cold
    record, again = walked(tmp_path, cache)
    assert set(again) == set(kernels)
    slow_s = record.server.get("rehearsal_cold_s", 0.0)  # a busy host may delay a step as long as a compilation does
    assert slow_s < before.server["rehearsal_cold_s"] / 4
    assert record.server["kernel_cache"] == ("cold" if slow_s else "warm")
    assert record.server["rehearsal_steps"] == SIZES + 6
    assert record.server["rehearsal_s"] < before.server["rehearsal_s"] - SIZES * COMPILE_S / 2
    assert record.metrics["compilations"] == 0


def test_a_start_without_a_load_rehearses_nothing(cold, tmp_path):
    made = session("--compile-steps", "--captured", "256", loads=(0,), model=EXPERTS, workload=NONE)
    (record,) = executed(made, tmp_path).values()
    assert record.verdict == "VALID"
    assert record.server["rehearsal_rounds"] == 1
    assert "rehearsal_steps" not in record.server


def test_a_log_of_first_compilations_is_made_up_for_by_the_seconds_of_each_step(tmp_path):
    compile_s = 0.8  # the first time that a size is sent is told from the second by its seconds alone
    record, kernels = walked(tmp_path, tmp_path, verbose=False, compile_s=compile_s)
    assert len(kernels) == 1
    assert record.server["rehearsal_steps"] == SIZES + 6
    assert record.server["rehearsal_cold_s"] == pytest.approx(SIZES * compile_s, rel=0.5)
    assert "compiled_under_load" not in codes(record.invalid)


@pytest.mark.alone  # it tells steps apart by their seconds
def test_what_the_budget_leaves_out_stands_in_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr(stepwalk, "COLD_BUDGET_S", 7 * COMPILE_S)
    (tmp_path / "cache").mkdir()
    record, kernels = walked(tmp_path, tmp_path / "cache")
    left_out = record.server["rehearsal_steps_left_out"]
    assert 7 * COMPILE_S <= record.server["rehearsal_cold_s"] <= 11 * COMPILE_S
    assert 5 <= left_out <= SIZES - 6
    assert f"{left_out} step sizes" in record.server["still_compiling"]
    assert len(kernels) >= SIZES - left_out


@pytest.mark.alone  # a busy server may read the prompts no sooner than the request to go on, 25 ms later
def test_prompts_shorter_than_a_step_make_one_together_while_the_engine_is_paused(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    for stride in range(288, 513, 32):
        for divisible in (True, False):
            (cache / f"{stride}-{divisible}").touch()
    record, kernels = walked(tmp_path, cache, max_model_len=200)
    assert record.server["rehearsal_steps"] == SIZES + 6
    assert {kernel for kernel in kernels if "=512" in kernel} != set()
    assert len(kernels) >= SIZES
    assert record.metrics["compilations"] == 0


def test_an_engine_that_cannot_be_paused_is_walked_as_well_as_it_can_be(cold, tmp_path):
    _, cache = cold
    record, _ = walked(tmp_path, cache, "--no-pause", max_model_len=200)
    assert record.server["rehearsal_steps"] >= 12
