"""A shorter load is of the same kind."""

import math

import pytest

from vbench.plan.tuning.shortening import shorten
from vbench.schema import Search, Workload


@pytest.mark.parametrize(
    ("load", "shorter"),
    [
        (Workload(num_prompts=900, request_rate=5), Workload(num_prompts=300, request_rate=5)),
        (Workload(num_prompts=60, request_rate=5), Workload(num_prompts=32, request_rate=5)),
        (Workload(num_prompts=900, max_concurrency=100), Workload(num_prompts=400, max_concurrency=100)),
        (Workload(num_prompts=150, max_concurrency=100), Workload(num_prompts=150, max_concurrency=100)),
        (Workload(num_prompts=90, duration_s=60.0), Workload(num_prompts=90, duration_s=20.0)),
        (Workload(num_prompts=90, duration_s=12.0), Workload(num_prompts=90, duration_s=10.0)),
        (Workload(num_prompts=90, search=Search.request_rate), Workload(num_prompts=30, search=Search.request_rate)),
        (Workload(num_prompts=320), Workload(num_prompts=320)),  # a burst of fewer is another load
    ],
)
def test_it_sends_less_and_keeps_its_height(load, shorter):
    assert shorten(load, 1 / 3) == shorter
    assert shorten(load, 1.0) == load


def test_requests_are_rounded_up():
    assert shorten(Workload(num_prompts=1000, request_rate=5), 1 / 3).num_prompts == math.ceil(1000 / 3)
