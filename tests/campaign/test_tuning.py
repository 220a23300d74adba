"""`vbench tune` without servers: combinations, sampling, trials as configs, scores and words."""

import itertools
from dataclasses import replace

import pytest
import records
from builders import run_config

from vbench.campaign.tuning import page
from vbench.campaign.tuning.command import translate
from vbench.campaign.tuning.options import Option, Space, list_words, make_space
from vbench.campaign.tuning.sampling import make_sampler
from vbench.campaign.tuning.world import Sessions
from vbench.plan.sessions import plan, repeats
from vbench.plan.tuning.decision import Answer, Confirmation, Verdict
from vbench.plan.tuning.halving import Round
from vbench.plan.tuning.objective import COST, GOODPUT, Objective, read_goodput
from vbench.plan.tuning.trial import DEFAULT, Outcome, Trial
from vbench.schema.record import Failure, Reason

LOAD = {"lengths": "random", "input_len": 8, "output_len": 4, "num_prompts": 90, "request_rate": 5.0}


def config(seqs=None, utilization=0.9, **workload):
    engine = {"weights": "dummy", "max_num_seqs": seqs, "gpu_memory_utilization": utilization}
    return run_config(hardware={"gpus": 1}, workload=LOAD | workload, engine=engine)


def compose(points):
    """Stands for Hydra: the two keys that these tests vary."""
    for words in points:
        given = dict(word.split("=") for word in words)
        seqs = given.get("engine.max_num_seqs")
        utilization = float(given.get("engine.gpu_memory_utilization", 0.9))
        yield config(int(seqs) if seqs and seqs != "null" else None, utilization)


def test_all_combinations_are_options_but_those_that_cannot_be_run_or_change_nothing():
    tune = {"engine.max_num_seqs": [None, 64, 64], "engine.gpu_memory_utilization": [0.9, 1.5, 0.8]}
    space = make_space(tune, compose)
    assert [each.name for each in space.options] == [
        "engine.max_num_seqs=null engine.gpu_memory_utilization=0.8",
        "engine.max_num_seqs=64 engine.gpu_memory_utilization=0.9",
        "engine.max_num_seqs=64 engine.gpu_memory_utilization=0.8",
    ]
    reasons = dict(space.skipped)
    assert reasons["engine.max_num_seqs=null engine.gpu_memory_utilization=0.9"] == "the same as defaults"
    assert "must be above 0 and at most 1" in reasons["engine.max_num_seqs=64 engine.gpu_memory_utilization=1.5"]
    assert space.sizes == (2, 3)


def test_values_keep_their_types_as_words():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    values = [7, 0.5, True, None, "tp", "007", "0.1", "true", "it's", "a b", ["--itl-s", "0.1"], {"A": "1"}, [], "inf"]
    words = list_words({"key": values})[0]
    assert [OverridesParser.create().parse_override(word).value() for word in words] == values


def test_weights_that_certainly_do_not_fit_are_skipped_with_their_size():
    (small, large) = compose([[], []])
    large = replace(large, model=replace(large.model, num_hidden_layers=400, intermediate_size=1_000_000))
    space = make_space({"model.num_hidden_layers": [400]}, lambda _: iter([small, large]))
    assert space.options == []
    assert "GiB" in space.skipped[0][1]


def choose(sizes, most):
    points = list(itertools.product(*map(range, sizes)))
    sampler, chosen = make_sampler(points, sizes, most), []
    while asked := sampler.ask():
        chosen += asked
        sampler.tell([(place, None if place == asked[0] else float(sum(points[place]))) for place in asked])
    return chosen, [sum(points[place]) for place in chosen]


def test_a_small_grid_is_tried_whole():
    assert choose((3, 2), 27)[0] == list(range(6))


def test_of_a_large_grid_the_sampler_chooses_each_option_once_and_always_the_same():
    chosen, scores = choose((6, 6, 6), 27)
    assert len(set(chosen)) == len(chosen) == 27
    assert choose((6, 6, 6), 27)[0] == chosen
    first, last = scores[:12], scores[-12:]
    assert sum(last) > sum(first)  # it learns where scores are high


def test_a_sampler_that_proposes_the_same_again_still_ends():
    chosen, _ = choose((2, 2, 2), 7)
    assert len(set(chosen)) == len(chosen) == 7


def test_trials_of_a_round_have_the_same_prompts_and_those_of_another_start_other_ones():
    point = config(repeats=2)
    world = Sessions(
        Option((), point), [Option(("a=1",), point)], Objective(GOODPUT), {DEFAULT: None, 0: None}, "local"
    )
    first, other, later = (
        world.make_config(trial) for trial in (Trial(0, 0, 1 / 3), Trial(DEFAULT, 0, 1 / 3), Trial(0, 2))
    )
    assert first.workload.num_prompts == 32  # a third would be fewer than show how it runs
    assert first.workload == other.workload
    assert (later.workload.num_prompts, later.workload.seed, later.engine.restart) == (90, 4, 2)
    keys = [run.key for each in (first, later) for run in plan([(each, "vllm 1")])[0].runs]
    assert len(set(keys)) == 4


def test_the_starts_of_a_tuning_are_those_of_engine_restarts():
    """So a campaign that asks for several starts of an option finds the records of its tuning."""
    point = config()
    world = Sessions(Option((), point), [], Objective(GOODPUT), {DEFAULT: None}, "local")
    several = repeats(replace(point, engine=replace(point.engine, restarts=3)))
    mine = [world.make_config(Trial(DEFAULT, start)) for start in range(3)]
    assert [each.workload for each in mine] == [each.workload for each in several]
    assert [each.engine for each in mine] == [each.engine for each in several]


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({"metrics": {"request_goodput": 4.0}}, Outcome(4.0)),
        ({"metrics": {}}, Outcome(0.0)),
        ({"failure": Failure("oom_load", "out of memory")}, Outcome(None, "oom_load: out of memory")),
        ({"invalid": [Reason("lagging_client", "it lagged")]}, Outcome(None, "INVALID: lagging_client: it lagged")),
    ],
)
def test_the_score_is_the_goodput_and_what_cannot_be_trusted_has_none(facts, outcome):
    assert read_goodput(replace(records.record(), **facts)) == outcome
    assert read_goodput(None).score is None


def test_the_cost_counts_the_gpus_and_their_price():
    record = replace(records.record(), metrics={"request_goodput": 2.0})
    one, two = (replace(config(), hardware=replace(config().hardware, gpus=gpus)) for gpus in (1, 2))
    objective = Objective(COST, output_len=100.0)
    scores = [objective.score(each, 3.6, [record]).score for each in (one, two)]
    assert scores == pytest.approx([2000.0, 1000.0])  # requests per dollar
    assert objective.describe(2000.0) == "$5/M output tokens"


def test_repeats_on_a_start_are_one_score():
    runs = [replace(records.record(), metrics={"request_goodput": value}) for value in (2.0, 8.0)]
    assert Objective(GOODPUT).score(config(), None, runs).score == pytest.approx(4.0)


def make_answer(ours, defaults):
    rounds = [Round(1.0, {DEFAULT: Outcome(1.0), 0: Outcome(1.2), 1: Outcome(None, "oom_load: out of memory")})]
    return Answer(rounds, [Confirmation(0, [Outcome(each) for each in ours], [Outcome(each) for each in defaults])])


SPACE = Space(
    Option((), config()), [Option(("engine.max_num_seqs=64",), config()), Option(("engine.max_num_seqs=9",), config())],
    [("parallelism=tp8", "no such GPUs")], (2,),
)  # fmt: skip
WORDS = ["model=tiny", "workload.slo={ttft_ms: 500}", "engine.max_num_seqs=32"]


def test_a_winner_is_told_with_its_ratio_and_a_command_that_replaces_the_tuned_key():
    answer = make_answer([1.2, 1.21, 1.19], [1.0, 1.01, 0.99])
    *_, skipped, winner, use = page.show(answer, SPACE, Objective(GOODPUT), WORDS)
    assert skipped == "skipped parallelism=tp8: no such GPUs"
    assert winner.startswith("winner: engine.max_num_seqs=64 has 1.200 [1.1")
    assert winner.endswith("1.2 requests/s against 1 requests/s")
    assert use == "use it: vbench model=tiny 'workload.slo={ttft_ms: 500}' engine.max_num_seqs=64"
    facts = page.describe(answer, SPACE, Objective(GOODPUT))
    assert facts["verdict"] == "winner"
    assert facts["rounds"][0]["scores"]["engine.max_num_seqs=9"] == "oom_load: out of memory"


def test_an_option_that_is_not_proven_better_is_told_with_how_far_it_is():
    answer = make_answer([1.0, 1.1, 1.02], [1.0, 1.01, 1.05])
    assert answer.verdict is Verdict.default
    lines = list(page.show(answer, SPACE, Objective(GOODPUT), WORDS))
    assert any(
        line.startswith("no option beats the default: the best of them, engine.max_num_seqs=64") for line in lines
    )
    assert lines[-1].startswith("more starts make the interval narrower: engine.restarts=6")
    assert "failed engine.max_num_seqs=9: oom_load: out of memory" in lines


def test_too_few_starts_are_no_verdict():
    answer = make_answer([1.2, None, None], [1.0, 1.01, 0.99])
    assert answer.verdict is Verdict.undecided
    assert "too few starts of the option" in list(page.show(answer, SPACE, Objective(GOODPUT), WORDS))[-1]


@pytest.mark.parametrize(
    ("ours", "defaults", "said"),
    [
        (
            [0.0] * 3,
            [1.0] * 3,
            "no option beats the default: engine.max_num_seqs=64 meets the SLO with no request, the d",
        ),
        ([1.0] * 3, [0.0] * 3, "winner: engine.max_num_seqs=64 meets the SLO, the defaults with no request"),
        (
            [0.0] * 3,
            [0.0] * 3,
            "undecided: engine.max_num_seqs=64 could not be confirmed: some starts met the SLO with n",
        ),
    ],
)
def test_a_side_that_never_meets_the_slo_is_named(ours, defaults, said):
    lines = list(page.show(make_answer(ours, defaults), SPACE, Objective(GOODPUT), WORDS))
    assert any(line.startswith(said) for line in lines)


def test_the_words_of_a_campaign_are_kept_and_ours_become_options_of_the_launcher():
    kept, made = translate(["tune={engine.max_num_seqs: [1]}", "slo={ttft_ms: 5}", "trials=9", "hydra/launcher=slurm"])
    assert kept == ["workload.slo={ttft_ms: 5}", "hydra/launcher=slurm"]
    assert made == [
        "hydra/launcher=tune", "+hydra.launcher.tune={engine.max_num_seqs: [1]}", "workload.slo={ttft_ms: 5}",
        "hydra.launcher.trials=9", "hydra.launcher.backend=slurm", "experiment=tune",
    ]  # fmt: skip
