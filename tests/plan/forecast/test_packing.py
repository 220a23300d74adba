import random
from itertools import pairwise

import pytest

from vbench.plan.forecast.packing import pack, wall_s


def test_largest_then_longest_sessions_start_first_and_the_rest_fill_the_gaps():
    slots = {slot.session: (slot.start_s, slot.end_s) for slot in pack([(1, 10.0), (4, 20.0), (2, 30.0), (2, 5.0)], 4)}
    assert slots == {1: (0, 20), 2: (20, 50), 3: (20, 25), 0: (25, 35)}


def test_no_gpu_has_two_sessions_at_once_and_every_second_of_them_is_packed():
    rng = random.Random(1)
    sessions = [(rng.choice((1, 2, 4, 8)), rng.uniform(1, 100)) for _ in range(60)]
    slots = pack(sessions, 8)
    assert sorted(slot.session for slot in slots) == list(range(60))
    for gpu in range(8):
        held = sorted((slot.start_s, slot.end_s) for slot in slots if gpu in slot.gpus)
        assert all(first[1] <= second[0] for first, second in pairwise(held))
    floor = sum(gpus * seconds for gpus, seconds in sessions) / 8
    assert floor <= wall_s(slots) <= 1.3 * floor


def test_max_parallel_and_sessions_of_the_cpu_run_one_after_the_other():
    assert wall_s(pack([(1, 10.0)] * 3, 8, at_once=1)) == 30
    assert wall_s(pack([(0, 10.0)] * 3, 0)) == 30


def test_a_session_larger_than_the_pool_is_no_plan():
    with pytest.raises(ValueError, match="8 GPUs of 4"):
        pack([(8, 1.0)], 4)
