"""Which points of a plan are predicted: as many as the plan's content allows, on any host."""

from builders import run_config

from vbench.campaign.planning.expecting import POINT, QUEUED, Expectations
from vbench.campaign.planning.summary import describe_coverage
from vbench.plan.forecast.campaign import Forecast
from vbench.plan.forecast.performance import History
from vbench.plan.reach.predictor import Predictor
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan

GPU = {"memory_bandwidth_gb_s": 3350.0, "bf16_tflops": 989.5, "fp8_tflops": 1979.0, "link_gb_s": 900.0}
H100 = {"name": "h100", "product": "H100", "memory_mib": 81559} | GPU


def run(prompts, seed=0, **engine):
    load = {"lengths": "random", "input_len": 8, "output_len": 16, "num_prompts": prompts, "seed": seed}
    made = check_run(run_config(hardware={"gpus": 1, "gpu": H100}, workload=load, engine=engine))
    (session,) = plan([(made, "vllm 0.32.0")])
    return session.runs[0]


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
