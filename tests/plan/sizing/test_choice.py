from dataclasses import replace

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.choice import choose_next, list_contenders
from vbench.plan.sizing.systems import System


def system(value, *, low=None, high=None, gpu="h100", split=1, price=2.0, rate=50.0, basis=Basis.predicted):
    capacity = Estimate(value, value if low is None else low, value if high is None else high, basis, "")
    return System(gpu, split, capacity, rate, price)


def measured(each, value):
    return replace(each, capacity=Estimate(value, value, value * 1.05, Basis.measured, ""))


def test_a_system_that_bears_nothing_is_never_measured():
    none, some = system(0.0), system(10.0, basis=Basis.measured)
    assert choose_next([none, some]) is None
    assert choose_next([none]) is None
    assert choose_next([]) is None


def test_a_system_that_may_bear_the_load_is_measured_though_all_that_are_known_do_not():
    none, some = system(0.0, basis=Basis.measured), system(0.0, high=3.0, gpu="a")
    assert choose_next([none, some]) is some


def test_the_best_and_all_that_may_be_cheaper_contend_and_no_more():
    best, rival, hopeless = system(20.0, high=21), system(14.0, high=26.0, gpu="a"), system(2.0, high=3.0, gpu="b")
    assert list_contenders([hopeless, rival, best]) == [rival, best]
    known = measured(best, 18.0)
    assert choose_next([hopeless, rival, known]) is rival
    assert choose_next([hopeless, measured(rival, 11.0), known]) is None


def test_an_answer_that_turns_out_worse_makes_room_for_others():
    best, second = system(20.0, high=22.0), system(13.0, high=13.5, gpu="a")
    assert choose_next([best, second]) is best
    assert choose_next([measured(best, 18.0), second]) is None
    assert choose_next([measured(best, 5.0), second]) is second


def test_a_rival_is_measured_first_if_it_may_rule_the_best_out_at_a_small_part_of_its_gpu_seconds():
    best, rival = system(400.0, low=300.0, split=8, price=1.0), system(10.0, low=9.0, high=26.0, gpu="a", price=2.0)
    assert best.cost < rival.cost
    assert choose_next([best, rival]) is rival
    assert choose_next([best, measured(rival, 26.0)]) is None
    assert choose_next([best, measured(rival, 10.0)]) is best


def test_the_best_is_measured_first_if_no_answer_of_a_rival_spares_its_session():
    best, rival = system(50.0, low=40.0, high=60.0, split=2), system(24.0, low=20.0, high=24.0, gpu="a")
    assert list_contenders([best, rival]) == [best, rival]
    assert choose_next([best, rival]) is best


def test_time_to_start_counts_as_much_as_gpus():
    slow, fast = system(20.0, low=10.0, high=30.0), system(20.0, low=10.0, high=30.0, gpu="a")
    assert choose_next([replace(slow, session_s=900.0), fast]) is fast
    assert choose_next([slow, replace(fast, session_s=900.0)]) is slow


def test_what_was_tried_without_a_result_is_left_and_its_rivals_must_beat_its_highest_cost():
    best, rival, dear = system(20.0, low=16.0), system(13.0, high=17.0, gpu="a"), system(5.0, high=6.0, gpu="b")
    assert choose_next([replace(best, tried=True), rival, dear]) is rival
    assert choose_next([replace(best, tried=True), replace(rival, tried=True), dear]) is None


def test_a_rival_that_is_cheaper_only_beyond_its_likely_range_is_not_measured():
    best = measured(system(20.0), 20.0)
    unlikely = replace(system(14.0, high=60.0, gpu="a"), likely=Estimate(14.0, 12.0, 16.0, Basis.predicted, ""))
    likely = replace(unlikely, likely=Estimate(14.0, 12.0, 26.0, Basis.predicted, ""))
    assert unlikely.least_cost < best.cost
    assert choose_next([best, unlikely]) is None
    assert choose_next([best, likely]) is likely


def test_what_was_measured_has_no_likely_range_any_more():
    known = measured(replace(system(20.0), likely=Estimate(20.0, 15.0, 90.0, Basis.predicted, "")), 18.0)
    assert known.outlook == known.capacity
