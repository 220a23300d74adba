import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doors import FAKE
from servers import served, session

from vbench.engine.command import MARK
from vbench.host import processes
from vbench.host.cputime import read, read_stats
from vbench.schema.errors import ServerFailed

DEVICES = ["GPU-fake-0", "GPU-fake-1"]


def environ(pid):
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def orphan_of(mark):
    """A process that has left its server's group and session, with the server's mark."""
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    orphan = subprocess.Popen(sleep, env={**os.environ, MARK: mark}, start_new_session=True)
    while orphan.pid not in processes.find_marked(MARK, mark):
        time.sleep(0.01)
    return orphan


@pytest.mark.parametrize(
    ("failure", "kind", "telling"),
    [
        ("oom_load", "oom_load", "out of memory"),
        ("oom_kv", "oom_kv", "cache blocks"),
        ("exit:3", "server_died", "exit code 3"),
    ],
)
def test_a_server_that_dies_at_load_is_told_by_its_kind_and_telling_line(failure, kind, telling, tmp_path):
    with pytest.raises(ServerFailed) as failed:
        served(session("--fail", failure), tmp_path)
    assert failed.value.kind == kind
    assert telling in failed.value.telling_line
    assert failed.value.log.read_text()


def test_a_server_that_is_never_ready_is_ended_at_its_deadline(tmp_path):
    made = session("--fail", "never_ready", timeout_s=1)
    with pytest.raises(ServerFailed, match="startup_timeout"):
        served(made, tmp_path)
    assert "processes gone" in (tmp_path / "server.log").read_text()


def test_the_name_that_is_served_is_a_nonce_and_a_stranger_is_found_out(tmp_path):
    async def meet(servers):
        names = set(await servers[0].control.list_models())
        stranger = type(servers[0])(
            "vbench-other",
            servers[0].base_url,
            servers[0].log,
            servers[0].process,
            servers[0].control,
            servers[0].printed,
        )
        with pytest.raises(ServerFailed, match="port_taken"):
            await stranger.check_identity()
        return names, servers[0].served_model_name

    names, own = served(session(), tmp_path, during=meet)
    assert names == {own}
    assert own.startswith("vbench-")


def test_a_server_has_no_development_mode_and_asks_for_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    monkeypatch.setenv("VLLM_API_KEY", "of-the-users-own-server")

    async def look(servers):
        return [entry for entry in environ(servers[0].process.pid) if entry.startswith((b"VLLM_S", b"VLLM_API"))]

    assert served(session(), tmp_path, during=look) == []


def test_replicas_get_their_own_gpus_and_logs_and_are_all_gone_at_the_end(tmp_path):
    async def look(servers):
        environs = [environ(each.process.pid) for each in servers]
        assert all(processes.find_marked(MARK, each.served_model_name) == [each.process.pid] for each in servers)
        gpus = [next(e for e in env if e.startswith(b"CUDA_VISIBLE_DEVICES=")) for env in environs]
        return gpus, [each.served_model_name for each in servers], {each.base_url for each in servers}

    made = session(hardware={"gpus": 2}, parallelism={"data_parallel_size": None})
    gpus, marks, urls = served(made, tmp_path, DEVICES, look)
    assert gpus == [b"CUDA_VISIBLE_DEVICES=GPU-fake-0", b"CUDA_VISIBLE_DEVICES=GPU-fake-1"]
    assert len(urls) == 2
    assert not any(processes.find_marked(MARK, mark) for mark in marks)
    for log in ("server.log", "server-1.log"):
        assert "processes gone and GPU memory drained" in (tmp_path / log).read_text()


# As a container runtime may: starts the server elsewhere, without our variables, on other GPUs.
DETACHING = """(exec env -i PATH="$PATH" CUDA_VISIBLE_DEVICES=0,1 setsid "$@" &); exec sleep 600"""


def test_a_server_under_a_container_runtime_keeps_its_gpus_and_its_front_end_is_the_process_that_listens(tmp_path):
    async def look(servers):
        (server,) = servers
        found = server.find_processes()
        (front_end,) = found.front_ends
        return server.process.pid, found, environ(front_end), read(found, read_stats())

    command = ["sh", "-c", DETACHING, "runtime", sys.executable, str(FAKE)]
    made = session(hardware={"gpus": 1}, engine={"command": command, "env": {"VLLM_OF_THE_CONFIG": "1"}})
    started, found, variables, readings = served(made, tmp_path, DEVICES[:1], look)
    (front_end,) = found.front_ends
    assert started in found.roots
    assert front_end not in (started, 0)
    assert [(reading.pid, reading.role) for reading in readings] == [(front_end, "frontend")]
    assert {b"CUDA_VISIBLE_DEVICES=GPU-fake-0", b"VLLM_OF_THE_CONFIG=1"} <= set(variables)
    assert "processes gone and" in (tmp_path / "server.log").read_text()  # it was asked to end, none was killed


def test_one_replica_that_dies_ends_the_others(tmp_path):
    made = session("--fail", "oom_load", hardware={"gpus": 2}, parallelism={"data_parallel_size": None})
    with pytest.raises(ServerFailed, match="oom_load"):
        served(made, tmp_path, DEVICES)
    assert len(list(tmp_path.glob("server*.log"))) == 2


def test_a_process_that_left_the_servers_group_is_found_by_its_mark_and_ended(tmp_path):
    async def leave_an_orphan(servers):
        return orphan_of(servers[0].served_model_name)

    orphan = served(session(), tmp_path, during=leave_an_orphan)
    assert orphan.wait(10) == -signal.SIGKILL
    assert "(1 killed)" in (tmp_path / "server.log").read_text()


def test_a_server_that_stops_answering_is_a_failure_and_not_a_traceback(tmp_path):
    async def kill(servers):
        servers[0].process.kill()
        await asyncio.sleep(0.2)
        await servers[0].control.read_counters()

    started = time.monotonic()
    with pytest.raises(ServerFailed, match="server_died: killed by signal 9"):
        served(session(), tmp_path, during=kill)
    assert time.monotonic() - started < 60


def test_a_server_does_not_end_by_the_signal_that_warns_a_job_of_its_end(tmp_path):
    async def warn(servers):
        os.kill(servers[0].process.pid, signal.SIGUSR2)
        await asyncio.sleep(0.1)
        servers[0].check_alive()
        return await servers[0].control.is_healthy()

    assert served(session(), tmp_path, during=warn)


def test_what_no_kill_ends_is_given_up_after_a_while_and_named_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_signal", lambda *_: None)  # as for a process that waits in the kernel
    monkeypatch.setattr(processes, "TERM_GRACE_S", 0.2)
    monkeypatch.setattr(processes, "KILL_GRACE_S", 0.3)
    orphans = []

    async def leave(servers):
        orphans.append(orphan_of(servers[0].served_model_name))

    try:
        served(session(), tmp_path, during=leave)
        (stuck,) = orphans
        last = (tmp_path / "server.log").read_text().splitlines()[-1]
        assert f"[vbench] processes NOT gone: pid {stuck.pid} (python" in last
        assert "(1 killed) and GPU memory drained 0." in last
        assert stuck.poll() is None
    finally:
        for orphan in orphans:
            orphan.kill()
            orphan.wait()
