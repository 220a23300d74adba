"""The errors that a search states, on servers whose misses come one at a time or three together.

`benchmarks/search_errors.py` measures them with more searches, on more servers.
"""

import numpy as np
import pytest
from simulated_levels import power_law, search_levels

from vbench.workload.capacity import FAILING, PASSING
from vbench.workload.search import MOST, MOST_JUDGED

SEARCHES = 12


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize(("capacity", "slope"), [(34.4, 8.0), (48.5, 60.0)])
def test_the_level_that_is_named_is_near_the_capacity_and_takes_a_stated_number_of_requests(capacity, slope, group):
    misses = power_law(capacity, slope)
    found = [search_levels(misses, group, np.random.default_rng([seed, group])) for seed in range(SEARCHES)]
    named = np.array([each.answer.level for each in found])
    assert np.mean(named >= capacity * (FAILING / 0.01) ** (1 / slope)) <= 0.1  # 98 % or fewer meet the SLO
    assert np.mean([misses(each.answer.failed) <= PASSING for each in found]) <= 0.1
    assert np.mean(np.abs(named / capacity - 1) <= 0.1) >= 0.75
    assert np.mean([each.answer.low <= capacity <= each.answer.high for each in found]) >= 0.9
    assert np.mean([sum(probe.of for probe in each.probes) for each in found]) < 3000


def test_a_server_whose_share_falls_slowly_is_answered_within_the_most_requests_and_with_an_interval():
    found = search_levels(power_law(17.5, 2.5), 1, np.random.default_rng(0))
    assert sum(probe.of for probe in found.probes) < MOST + MOST_JUDGED
    assert found.answer.low < 17.5 < found.answer.high
    assert found.answer.low <= found.answer.level <= found.answer.high
