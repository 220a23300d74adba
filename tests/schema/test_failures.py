import pytest

from vbench.schema.failures import MEANING, PERMANENT, TRANSIENT
from vbench.schema.record import Failure


def test_every_kind_is_either_lasting_or_passing_and_says_what_it_means():
    assert set(MEANING) == PERMANENT | TRANSIENT
    assert not PERMANENT & TRANSIENT
    assert all(MEANING.values())


def test_a_failure_of_memory_is_an_answer_and_a_lost_gpu_is_none():
    assert Failure("oom_kv", "").permanent
    assert not Failure("gpu_lost", "").permanent


def test_a_kind_that_is_not_in_the_taxonomy_is_no_failure():
    with pytest.raises(ValueError, match="out_of_memory: not a kind of failure; these are: infeasible"):
        Failure("out_of_memory", "")


def test_what_would_fail_again_is_permanent_and_what_the_host_or_the_scheduler_did_is_not():
    assert {"infeasible", "oom_load", "oom_kv", "skipped_larger", "engine_error", "no_gpu"} == PERMANENT
    assert {"startup_timeout", "server_died", "oom_host", "node_failed", "time_limit", "preempted"} < TRANSIENT
