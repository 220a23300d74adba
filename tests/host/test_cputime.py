"""Real processes under the titles that vLLM gives its own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from vbench.host.cputime import ServerProcesses, find_server_processes, join_processes, read, read_stats

FAMILY = """
for title in VLLM::EngineCore_DP0 VLLM::APIServer_1 sleepy; do
    bash -c "exec -a $title sleep 60" &
done
bash -c 'bash -c "exec -a VLLM::Worker_TP0 sleep 60" & wait' &
wait
"""


@contextmanager
def family(script):
    """The pid of a shell that runs the script; what it has started ends with the block."""
    with subprocess.Popen(["bash", "-c", script], start_new_session=True) as shell:
        try:
            yield shell.pid
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


def until(enough, root):
    """What is read once that is enough, or after two minutes."""
    deadline = time.monotonic() + 120
    while not enough(found := read(ServerProcesses((root,), (root,)), read_stats())) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def find_children(root):
    return [int(pid) for pid in Path(f"/proc/{root}/task/{root}/children").read_text().split()]


def test_processes_are_told_apart_by_their_titles_and_strangers_left_out():
    with family(FAMILY) as root, family("sleep 60 & wait"):
        found = until(lambda found: len(found) == 4, root)
    assert sorted(reading.role for reading in found) == ["engine_core", "frontend", "frontend", "worker"]
    assert [reading.role for reading in found if reading.pid == root] == ["frontend"]
    assert [reading.pid for reading in found] == sorted(reading.pid for reading in found)


def test_the_cpu_of_the_first_thread_is_told_apart_from_that_of_all():
    spin = "import hashlib, threading; t = threading.Thread(target=lambda: [hashlib.sha256(bytes(1 << 20)) for _ in "
    code = f"{spin}range(10**9)], daemon=True); t.start(); t.join()"
    with family(f"exec {sys.executable} -c {code!r}") as root:
        # Its first thread computes too while Python starts, which takes long on a slow host.
        (found,) = until(lambda found: found[0].cpu_s >= 0.5 and found[0].loop_s < found[0].cpu_s / 2, root)
    assert found.loop_s < found.cpu_s / 2


def test_the_front_end_is_who_listens_and_not_the_runtime_around_it():
    with family("bash -c 'sleep 60 & wait' & wait") as root:
        below = until(lambda found: len(find_children(root)) == 1, root) and find_children(root)
        found = find_server_processes([root, *below], listening=below)
        assert found == ServerProcesses((root,), tuple(below))
        assert [(reading.pid, reading.role) for reading in read(found, read_stats())] == [(below[0], "frontend")]
        assert found.find_cores() == os.sched_getaffinity(0)
        both = join_processes([found, ServerProcesses((7,), (8,))])
    assert both == ServerProcesses((root, 7), (*below, 8))


def test_a_server_that_is_gone_has_no_processes():
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert read(ServerProcesses((ended.pid,), (ended.pid,)), read_stats()) == []
    assert read(ServerProcesses(), read_stats()) == []
