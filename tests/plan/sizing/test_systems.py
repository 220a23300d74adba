import math

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.systems import System, rank


def system(value, *, low=None, high=None, gpu="h100", split=1, price=2.0, basis=Basis.predicted, rate=50.0):
    capacity = Estimate(value, value if low is None else low, value if high is None else high, basis, "")
    return System(gpu, split, capacity, rate, price)


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


def test_dollars_a_million_tokens_are_at_the_load_and_not_at_what_the_system_could_bear():
    found = system(12.0, price=3.6)  # five replicas, which bear 60 requests/s, under a load of 50
    assert math.isclose(found.dollars_per_million(200.0), 5 * 3.6 / (50 * 200 * 3600) * 1e6)


def test_a_system_that_bears_nothing_is_last():
    none, some = system(0.0), system(10.0, basis=Basis.measured)
    assert rank([none, some]) == [some, none]


def test_of_equal_prices_fewer_gpus_then_more_headroom():
    few, many = system(50.0, split=1, price=4.0), system(50.0, split=4, price=1.0)
    assert rank([many, few]) == [few, many]
