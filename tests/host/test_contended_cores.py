"""What /proc and control groups tell of a server that competes for its cores."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from doors import until

from vbench.host.contention import PROCESSOR, ContentionMeter, read_core_times
from vbench.host.cputime import PARENT, SYSTEM, TICKS_PER_S, USER, read_stats
from vbench.host.throttling import find_throttle_counters, read_throttled_s


@contextmanager
def spinning(core):
    """A process that keeps this core busy."""
    command = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(command) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def own_proc(monkeypatch):
    monkeypatch.setenv("HOST_PROC", "/proc")


def test_a_server_that_shares_its_core_waits_while_others_use_it(own_proc):
    core = min(os.sched_getaffinity(0))
    with spinning(core) as server, spinning(core) as other:
        until(lambda: all(int(read_stats()[pid][USER]) >= 5 for pid in (server, other)))  # both compute
        meter = ContentionMeter([server], {core}, shared=False)
        before = meter.read(read_stats())
        until(lambda: meter.read(read_stats())["longest_wait_s"] > before["longest_wait_s"] + 0.3)
        after = meter.read(read_stats())
    grown = {name: after[name] - before[name] for name in before}
    assert grown["busy_s"] - grown["server_s"] > 0.2
    assert grown["client_s"] == 0
    assert 0.9 * grown["capacity_s"] < grown["busy_s"] <= grown["capacity_s"] + 0.02


def test_the_client_is_not_others_where_it_shares_the_servers_cores(own_proc):
    core = min(os.sched_getaffinity(0))
    with spinning(core) as server, spinning(core):  # children of this process, as the load client's processes are
        until(lambda: int(read_stats()[server][USER]) >= 5)
        stats = read_stats()
        alone, shared = (ContentionMeter([server], {core}, shared=each).read(stats) for each in (False, True))
    assert shared["server_s"] == alone["server_s"]
    assert shared["client_s"] > alone["client_s"] == 0


def test_the_process_that_uses_the_servers_cores_is_named_and_no_other(own_proc):
    (core, *_), stats = sorted(os.sched_getaffinity(0)), read_stats()
    meter, ticks = ContentionMeter([os.getpid()], {core}, shared=False), 10 * TICKS_PER_S
    there, elsewhere = 2**30, 2**30 + 1  # above any pid

    def add(used):
        model = [*stats[os.getpid()]]
        model[PARENT], model[USER], model[SYSTEM] = "1", str(used), "0"
        places = {there: core, elsewhere: core + 1, os.getppid(): core}
        return stats | {pid: [*model[:PROCESSOR], str(at), *model[PROCESSOR + 1 :]] for pid, at in places.items()}

    meter.read(add(0) | {os.getppid(): add(ticks)[os.getppid()]})
    assert meter.describe_others() == ""
    meter.read(add(ticks))
    assert re.fullmatch(rf"pid {there} \d+\.\d cores", meter.describe_others())


def test_the_times_of_cores_are_told_apart_from_idle_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("HOST_PROC", str(tmp_path))
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 20 30 500 40 5 5 50 77 0\ncpu1 200 0 0 800 0 0 0 0 0 0\nintr 5\n"
    )
    found = read_core_times({0})
    assert (found.capacity_s, found.busy_s, found.steal_s) == pytest.approx((7.5, 2.1, 0.5))
    both = read_core_times({0, 1})
    assert (both.capacity_s, both.busy_s) == pytest.approx((17.5, 4.1))
    assert read_core_times({0, 2}) is None  # a made-up list of fewer cores
    assert read_core_times(set()) is None


def test_without_times_of_the_cores_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HOST_PROC", str(tmp_path))
    assert ContentionMeter([os.getpid()], {0}, shared=False).read(read_stats()) == {}


@pytest.mark.parametrize(
    ("line", "place", "text"),
    [
        ("0::/pod/server", "pod/cpu.stat", "usage_usec 9\nthrottled_usec 2500000\n"),
        ("4:cpu,cpuacct:/pod/server", "cpu/pod/cpu.stat", "nr_throttled 9\nthrottled_time 2500000000\n"),
        ("0::/hidden/from/here", "cpu.stat", "throttled_usec 2500000\n"),
    ],
)
def test_a_quota_on_any_group_around_a_server_is_found(tmp_path, line, place, text):
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text(f"3:memory:/other\n{line}\n")
    counter = tmp_path / "groups" / place
    counter.parent.mkdir(parents=True)
    counter.write_text(text)
    (counter.parent / "server").mkdir()
    (counter.parent / "server" / "cpu.stat").write_text("nr_periods 5\n")
    found = find_throttle_counters(7, tmp_path / "proc", tmp_path / "groups")
    assert counter in found
    assert read_throttled_s(found) == 2.5


def test_without_a_quota_nothing_is_held_back(tmp_path):
    assert find_throttle_counters(7, tmp_path, tmp_path) == []
    assert read_throttled_s([]) == 0
