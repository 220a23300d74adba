from dataclasses import replace

import pytest
from builders import run_config

from vbench.campaign.planning.size_table import describe, show_systems
from vbench.campaign.planning.size_words import explain
from vbench.campaign.planning.sizing import UNKNOWN
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.systems import System, rank

CONFIG = run_config(workload={"slo": {"ttft_ms": 500.0, "tpot_ms": 50.0}})
PREDICTED = System("h100", 2, Estimate(20.0, 15.0, 30.0, Basis.predicted, ""), 50.0, 2.5)
MEASURED = replace(PREDICTED, capacity=Estimate(20.0, 20.0, 20.5, Basis.measured, ""))
MISFIT = replace(PREDICTED, split=1, capacity=Estimate(0, 0, 0, Basis.assumed, "does not fit: 131.4 GiB of weights"))


def told(*systems):
    return list(explain(CONFIG, systems, (250.4, 195.0)))


def test_the_answer_is_a_sentence_with_its_cost_range_and_basis():
    assert told(PREDICTED)[0] == (
        "answer: h100 tp2 with 3 replicas (6 GPUs) is the cheapest, $15.00 ($10.00 to $20.00) an hour; "
        "its capacity is predicted"
    )
    free = replace(MEASURED, price=None)
    assert told(free)[0] == "answer: h100 tp2 with 3 replicas needs the fewest GPUs: 6; its capacity is measured"
    assert told(MISFIT)[0] == "answer: none of these systems bears the load within the SLO"


def test_of_systems_whose_capacity_is_not_known_the_answer_does_not_say_that_they_do_not_bear_the_load():
    unknown = replace(MISFIT, capacity=UNKNOWN)
    for systems in [(unknown,), (MISFIT, unknown)]:
        assert told(*systems)[0] == "answer: no system whose capacity is known here bears the load within the SLO"


def test_a_tie_in_price_is_said_and_what_bears_more_after_a_loss_comes_first():
    one = System("h100", 4, Estimate(60.0, 60.0, 60.0, Basis.measured, ""), 50.0, 2.5)
    two = System("h100", 2, Estimate(29.0, 29.0, 29.0, Basis.measured, ""), 50.0, 2.5)
    ranked = rank([one, two])
    assert ranked == [two, one]
    assert told(*ranked)[0] == (
        "answer: h100 tp2 with 2 replicas (4 GPUs) is the cheapest, $10.00 an hour; its capacity is measured; "
        "h100 tp4 x 1 (bears 0% of the load after the loss of a replica) costs as much, the first bears 58% of the "
        "load after the loss of a replica"
    )
    assert "as much" not in told(two, replace(one, price=3.0))[0]
    assert "as much" not in told(MISFIT, MISFIT)[0]


def test_money_is_told_to_the_cent():
    """Three H200s at $3.50 are $10.50: rounded to $10 they cost as much as four H100s at $2.50."""
    dear = System("h200", 1, Estimate(18.0, 18.0, 18.0, Basis.measured, ""), 50.0, 3.5)
    assert "is the cheapest, $10.50 an hour" in told(dear)[0]
    row = list(show_systems([dear], (250.0, 195.0)))[1].split()
    assert row[4:7] == ["10.50", "0.30", "0.23"]  # $/h; of 50 requests/s of 195 tokens out and 250 in
    assert "14.00" in row  # with a spare


def test_what_was_asked_names_lengths_precision_rate_and_slo():
    asked = told(PREDICTED)[1]
    for part in (CONFIG.model.weight_dtype, "50 requests/s", "250 tokens in and 195 out", "99 % within TTFT ≤ 500 ms"):
        assert part in asked


@pytest.mark.parametrize(("systems", "covered"), [((MEASURED, PREDICTED), True), ((MEASURED, MISFIT), False)])
def test_predicted_rows_say_what_their_ranges_rest_on(systems, covered):
    assert any("bursts on one to four GPUs" in line and "nine of ten" in line for line in told(*systems)) is covered


def test_a_system_that_does_not_fit_has_no_row_and_says_why():
    lines = list(show_systems([PREDICTED, MISFIT], (250.0, 195.0)))
    assert "h100 tp1: does not fit: 131.4 GiB of weights" in lines
    assert [line.split()[1] for line in lines if line.startswith("h100  ")] == ["tp2"]


def test_without_prices_gpus_are_the_cost_and_nothing_speaks_of_money():
    free = replace(PREDICTED, price=None)
    head, row, *below = show_systems([free], (250.0, 195.0))
    assert "$" not in head + row
    assert head.split()[:5] == ["GPU", "split", "replicas", "GPUs", "headroom"]
    assert "6 (4 to 8)" in row
    assert "8" in row.split("bears 80%")[1].split()[0]  # GPUs with a spare
    assert below[-1] == "no price set, so GPUs are the cost: 'prices={h100: …}' sets $ an hour of one GPU"
    (plain,) = describe([free], (250.0, 195.0))
    assert plain["gpus"] == 6
    assert {value for key, value in plain.items() if "cost" in key or "dollar" in key} == {None}


def test_with_prices_the_money_is_shown_and_what_is_lost_with_a_replica_explained():
    head, row, *below = show_systems([PREDICTED], (250.0, 195.0))
    assert all(each in head for each in ("$/h", "$/M out", "$/M in", "$/h with a spare"))
    assert "bears 80%" in row
    assert any(line.startswith("one lost: ") for line in below)
    assert not any("no price set" in line for line in below)
