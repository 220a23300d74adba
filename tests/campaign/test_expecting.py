"""Which points of a plan are predicted: as many as the plan's content allows, on any host."""

import math
from dataclasses import replace

import pytest
from builders import run_config

from vbench.campaign.planning import figures, page
from vbench.campaign.planning.expecting import POINT, QUEUED, Expectations
from vbench.campaign.planning.summary import describe_coverage
from vbench.plan.forecast.campaign import Forecast, PlannedRun, forecast
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.forecast.performance import History, Performance
from vbench.plan.reach.predictor import Predictor
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan

GPU = {"memory_bandwidth_gb_s": 3350.0, "bf16_tflops": 989.5, "fp8_tflops": 1979.0, "link_gb_s": 900.0}
H100 = {"name": "h100", "product": "H100", "memory_mib": 81559} | GPU


def make_session(load, **engine):
    made = check_run(run_config(hardware={"gpus": 1, "gpu": H100}, workload=load, engine=engine))
    (session,) = plan([(made, "vllm 0.32.0")])
    return session


def run(prompts, seed=0, **engine):
    load = {"lengths": "random", "input_len": 8, "output_len": 16, "num_prompts": prompts, "seed": seed}
    return make_session(load, **engine).runs[0]


def write_plan(load, **engine):
    """plan.md of one session, on a host without records."""
    expectations = Expectations(History([]), Predictor.default(), math.inf)
    found = forecast([make_session(load, **engine)], (), {}, [], expectations.find, {})
    return page.write(found, {}, "x", [])


def ask(most):
    expectations = Expectations(History([]), Predictor.default(), most)
    runs = [run(10), run(20), run(20, seed=1), run(40), run(10, seed=1)]
    return [expectations.find(each) is not None for each in runs], expectations


def test_predictions_end_by_their_cost_and_what_was_asked_before_is_still_answered():
    found, expectations = ask(2 * POINT + 30)
    assert found == [True, True, True, False, True]
    assert (expectations.predicted, expectations.left_out) == (4, 1)
    told = describe_coverage(Forecast((), expectations.predicted, expectations.left_out))
    assert told.startswith("predicted: 4 of 5 points without a record; the grid is too large")
    assert describe_coverage(Forecast((), 5, 0)) == ""


def test_requests_that_wait_for_a_place_cost_more():
    expectations = Expectations(History([]), Predictor.default(), POINT + 10 * QUEUED)
    assert expectations.find(run(10, max_num_seqs=4))
    assert expectations.find(run(20)) is None


@pytest.mark.parametrize("lengths", ["conversations"])
def test_a_load_in_sessions_is_not_predicted_and_the_page_says_why(lengths):
    told = write_plan({"lengths": lengths, "num_prompts": 24, "sessions": 1})
    assert "## What it should show" not in told
    assert "turns that wait for replies, and hits in the prefix cache, are not simulated: a quarter of what" in told


def test_the_prediction_of_a_load_with_shared_beginnings_says_that_nothing_is_taken_to_be_cached():
    load = {"lengths": "prefix", "num_prompts": 20, "output_len": 16}
    said = "as if no prompt were cached, so TTFT is too high where prompts share beginnings"
    assert said in write_plan(load)
    assert said not in write_plan(load, enable_prefix_caching=False)
    assert said not in write_plan({"lengths": "random", "input_len": 8, "output_len": 16, "num_prompts": 20})


def test_the_page_says_how_many_requests_run_at_once_where_others_wait():
    load = {"lengths": "random", "input_len": 8, "output_len": 16, "num_prompts": 20}
    said = "Requests that a replica runs at once, at most: 4 on h100"
    assert said in write_plan(load, max_num_seqs=4)
    assert "Requests that a replica runs at once" not in write_plan(load)


def test_the_page_counts_the_sessions_that_cannot_work():
    session = make_session({"lengths": "random", "input_len": 8, "output_len": 16, "num_prompts": 20})
    expectations = Expectations(History([]), Predictor.default(), math.inf)
    found = forecast([session], (), {session.folder: "too large"}, [], expectations.find, {})
    told = page.write(found, {}, "x", [])
    assert "| sessions that cannot work, so not started | 1, with 1 point (below: what is left out) |" in told
    assert "cannot work" not in write_plan({"lengths": "random", "input_len": 8, "output_len": 16, "num_prompts": 20})


@pytest.mark.parametrize(
    ("bases", "said"),
    [
        ([Basis.predicted], "predicted, not measured"),
        ([Basis.predicted, Basis.measured], "hollow: predicted, not measured; filled: measured or interpolated"),
        ([Basis.measured], "measured or interpolated"),
    ],
)
def test_a_figure_says_by_itself_what_is_predicted(bases, said):
    made = check_run(run_config(hardware={"gpus": 1, "gpu": H100}, workload={"num_prompts": 20}))
    found = Estimate(1.0, 0.5, 2.0, Basis.measured, "x")
    drawn = []
    for level, basis in enumerate(bases, start=1):
        (session,) = plan([(made, "vllm 0.32.0")])
        throughput = replace(found, basis=basis)
        drawn.append((float(level), PlannedRun(session.runs[0], Performance(throughput, found, found), None)))
    figure = figures.draw_curves({"llama8b": {"1xh100": drawn}, "tiny": {"2xh100": drawn, "1xh100": drawn}})
    assert figure.get_suptitle() == said
    one, two = figure.axes
    colours = {line.get_label(): line.get_color() for line in two.lines}
    assert one.lines[0].get_color() == colours["1xh100"]
    assert len(set(colours.values())) == 2
