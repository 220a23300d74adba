import math
from dataclasses import replace

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.systems import System, choose_next, rank


def system(value, *, low=None, high=None, gpu="h100", split=1, price=2.0, basis=Basis.predicted, rate=50.0):
    capacity = Estimate(value, value if low is None else low, value if high is None else high, basis, "")
    return System(gpu, split, capacity, rate, price)


def measured(each, value):
    return replace(each, capacity=Estimate(value, value, value * 1.05, Basis.measured, ""))


def test_a_system_has_as_many_replicas_as_the_load_needs():
    found = system(12.0, split=2)
    assert (found.replicas, found.gpus, found.cost) == (5, 10, 20.0)
    assert found.headroom == 60 / 50 - 1
    assert system(12.5).replicas == 4
    assert system(25.0, rate=25.0).replicas == 1


def test_without_one_replica_the_others_bear_a_share_and_a_spare_one_costs_as_much_as_any():
    found = system(20.0, rate=50.0, split=2)
    assert (found.replicas, found.share_after_loss) == (3, 0.8)
    assert (found.cost, found.spare_cost) == (12.0, 16.0)
    assert system(50.0).share_after_loss == 0


def test_dollars_a_million_tokens_put_all_costs_on_the_tokens():
    found = system(50.0, price=3.6)
    assert math.isclose(found.dollars_per_million(200.0), 3.6 / (50 * 200 * 3600) * 1e6)
    assert system(50.0, price=None).dollars_per_million(200.0) is None


def test_a_system_that_bears_nothing_is_last_and_never_measured():
    none, some = system(0.0), system(10.0, basis=Basis.measured)
    assert rank([none, some]) == [some, none]
    assert choose_next([none, some]) is None
    assert choose_next([none]) is None


def test_the_best_is_measured_first_then_what_could_beat_it_and_no_more():
    best, rival, hopeless = system(20.0, high=21), system(14.0, high=26.0, gpu="a"), system(2.0, high=3.0, gpu="b")
    assert choose_next([hopeless, rival, best]) is best
    known = measured(best, 18.0)
    assert choose_next([hopeless, rival, known]) is rival
    assert choose_next([hopeless, measured(rival, 11.0), known]) is None


def test_an_answer_that_turns_out_worse_makes_room_for_others():
    best, second = system(20.0, high=22.0), system(13.0, high=13.5, gpu="a")
    assert choose_next([measured(best, 18.0), second]) is None
    assert choose_next([measured(best, 5.0), second]) is second


def test_of_equal_prices_fewer_gpus_then_more_headroom():
    few, many = system(50.0, split=1, price=4.0), system(50.0, split=4, price=1.0)
    assert rank([many, few]) == [few, many]
