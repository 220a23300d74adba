"""A probe under way: when it may end, and what it then says of itself."""

import numpy as np
import pytest
from builders import run_config

from vbench.loadgen import Ended, Progress
from vbench.session.early_end import EarlyEnd
from vbench.workload.probe import probe_plan
from vbench.workload.question import Question

SLO = {"ttft_ms": 100.0, "tpot_ms": 10.0, "e2el_ms": 1000.0}


def early_end(kind="max_concurrency", level=1.0, exploring=True):
    config = run_config(workload={"search": kind, "slo": SLO, "num_prompts": 10})
    return EarlyEnd(probe_plan(config, Question(level, exploring), None))


def reports(count, every_s=1.0, **changed):
    """A report for each request that ended, one after the other."""
    reply = {"ttft_s": 0.1, "e2el_s": 0.2, "asked_tokens": 11, "succeeded": True} | changed
    for index in range(count):
        yield Progress(
            elapsed_s=(index + 1) * every_s, completed=index + 1, reads=0, in_flight=0,
            ended=(Ended(sent_s=index * every_s, **reply),), oldest_open_s=(index + 1) * every_s,
        )  # fmt: skip


def ended_at(watch, reports):
    return next((index for index, progress in enumerate(reports, 1) if watch(progress)), None)


def test_it_ends_once_the_level_seems_to_pass():
    watch = early_end()
    assert ended_at(watch, reports(20)) == 1 + 8  # the first reply only starts the steady state
    assert watch.metrics == {"slo_decided_s": 9.0}


@pytest.mark.parametrize(
    "missed",
    [
        {"ttft_s": 0.1001},
        {"e2el_s": 0.2011},
        {"e2el_s": 1.01, "asked_tokens": 1000},
        {"succeeded": False},
        {"ttft_s": np.inf},
    ],
)
def test_it_ends_where_the_level_fails_by_any_objective(missed):
    assert ended_at(early_end(exploring=False), reports(20, every_s=2.0, **missed)) == 1 + 4


def test_a_load_that_tells_nothing_goes_on():
    watch = early_end(exploring=False)
    assert ended_at(watch, reports(100)) is None
    assert watch.metrics == {}
    assert not watch(Progress(elapsed_s=1.0, completed=0, reads=0, in_flight=1))


def test_an_open_loop_that_outgrows_its_server_ends_as_saturated():
    watch = early_end("request_rate", 10.0)
    waits = np.linspace(1.0, 10.0, 60)
    for index, wait in enumerate(waits):
        if watch(Progress(index / 2, 0, 0, 20 + 3 * index, answered=((index / 2, wait),))):
            break
    assert watch.metrics == {"saturated": 1.0, "ended_early_s": index / 2}


@pytest.mark.parametrize(("kind", "report_s"), [("max_concurrency", 0.1), ("request_rate", 0.5)])
def test_a_probe_is_reported_often_but_an_overload_is_judged_by_as_many_looks_as_of_any_load(kind, report_s):
    assert early_end(kind).report_s == report_s
