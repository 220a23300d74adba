"""Sessions of one host: each has its GPUs alone, in the order in which they asked, whoever is killed meanwhile."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import run_config
from doors import FAKE, HERE, host

from vbench.host import cores, leases, processes
from vbench.host.gpus import GpuFacts
from vbench.host.leases import LEASE, choose_same_node
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.record import Record
from vbench.session import sessionfile

H100 = "NVIDIA H100 80GB HBM3"


class Job:
    """A process of tests/gpu_job.py; `say` reads on until it says what begins so."""

    def __init__(self, home: Path, gpus: int, *words: str, here: int, **env: str) -> None:
        surroundings = host(home, ",".join([H100] * here)) | {"USES": str(home / "uses")} | env
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "gpu_job.py"), str(gpus), *words],
            env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def says(self, start: str) -> str:
        heard = []
        for line in self.process.stdout:
            heard.append(line)
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"never said {start!r}, but {heard}")

    def leased(self) -> list[str]:
        return self.says("leased").split()

    def end(self) -> None:
        self.process.stdin.close()
        self.says("left")
        self.close()

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def job(tmp_path):
    """Starts jobs on a host of so many GPUs; at the end no job, no server and no lease is left of them."""
    started = []

    def start(gpus: int, *words: str, here: int = 2, **env: str) -> Job:
        started.append(Job(tmp_path, gpus, *words, here=here, **env))
        return started[-1]

    yield start
    for each in started:
        each.kill()
    for lease in (tmp_path / "leases").rglob("*.lease"):
        processes.end(LEASE, str(lease))


def test_two_sessions_at_once_get_different_gpus(job):
    first, second = job(1), job(1)
    assert {*first.leased(), *second.leased()} == {"GPU-fake-0", "GPU-fake-1"}


def test_a_wide_session_is_not_starved_by_narrow_ones_that_ask_later(job):
    narrow = job(1)
    narrow.leased()
    wide = job(2)
    assert wide.says("waits").startswith("has 1 of 2 GPUs; leased to tiny-1xh100")
    later = job(1)
    assert later.says("waits") == "1 before it in the queue"
    narrow.end()
    assert len(wide.leased()) == 2
    assert "has 0 of 1 GPUs" in later.says("waits")
    wide.end()
    assert len(later.leased()) == 1


def test_sessions_get_their_turn_in_the_order_in_which_they_asked_whoever_sent_them(job):
    running = job(1, here=1)
    running.leased()
    waiting = []
    for _ in range(4):
        waiting.append(job(1, here=1))
        waiting[-1].says("waits")
    for following in waiting:
        running.end()
        following.leased()
        running = following


def test_a_session_that_is_killed_while_it_waits_loses_its_place_and_what_it_had_collected(job):
    holder = job(1)
    (taken,) = holder.leased()
    waiting = job(2)
    waiting.says("waits")
    waiting.kill()
    assert job(1).leased() == [gpu for gpu in ("GPU-fake-0", "GPU-fake-1") if gpu != taken]


def test_the_gpus_of_a_job_that_is_killed_are_free_at_once_and_its_server_is_ended_before_they_are_used(job, tmp_path):
    killed = job(2)
    killed.leased()
    (lease,) = (tmp_path / "leases").glob("*.lease")
    killed.kill()
    assert len(processes.find_marked(LEASE, str(lease))) == 1
    assert len(job(2).leased()) == 2  # it would say "double use" first
    assert not processes.find_marked(LEASE, str(lease))
    assert not lease.exists()


def test_a_server_that_nobody_may_end_keeps_its_gpu(job):
    killed = job(1, "unmarked")
    (taken,) = killed.leased()
    killed.kill()
    assert job(1).leased() == [gpu for gpu in ("GPU-fake-0", "GPU-fake-1") if gpu != taken]
    assert "has 0 of 1 GPUs" in job(1).says("waits")


def test_the_servers_of_other_folders_leases_are_left_alone(job, tmp_path):
    killed = job(1, VBENCH_LEASES=str(tmp_path / "leases" / "other"))
    killed.leased()
    (lease,) = (tmp_path / "leases" / "other").glob("*.lease")
    killed.kill()
    job(1).leased()
    assert len(processes.find_marked(LEASE, str(lease))) == 1


def test_an_exclusive_session_has_the_host_alone(job):
    narrow = job(1)
    narrow.leased()
    alone = job(1, "exclusive")
    assert alone.says("waits").startswith("has 1 of 2 GPUs, another session has the CPU")
    later = job(1)
    later.says("waits")
    narrow.end()
    assert alone.says("cores").split() == [str(core) for core in sorted(os.sched_getaffinity(0))]
    assert len(alone.leased()) == 1
    assert "another session has the CPU" in later.says("waits")
    alone.end()
    later.leased()


def test_an_engine_on_the_cpu_runs_beside_no_other_session(job):
    first = job(0)
    assert first.leased() == []
    second = job(0)
    second.says("waits another session has the CPU; leased to tiny-cpu")
    first.end()
    second.leased()
    third = job(1)
    third.says("waits has 1 of 1 GPUs, another session has the CPU; leased to tiny-cpu")
    second.end()
    third.leased()


def test_a_strangers_gpu_is_left_alone(job, tmp_path):
    (tmp_path / "0").write_text("40000 1")
    assert job(1, FAKE_GPU_MEMORY=str(tmp_path)).leased() == ["GPU-fake-1"]


def test_memory_that_a_session_of_ours_holds_is_waited_for(job, tmp_path):
    holder = job(1, here=1, FAKE_GPU_MEMORY=str(tmp_path))
    holder.leased()
    (tmp_path / "0").write_text("40000")
    after = job(1, here=1, FAKE_GPU_MEMORY=str(tmp_path))
    after.says("waits has 0 of 1 GPUs; leased to tiny-1xh100")
    (tmp_path / "0").unlink()
    holder.end()
    after.leased()


def test_memory_that_is_being_freed_is_waited_for_and_what_stays_is_a_strangers(job, tmp_path):
    (tmp_path / "0").write_text("2000")
    draining = job(1, "unchecked", here=1, FAKE_GPU_MEMORY=str(tmp_path))
    assert "waiting until used GPU memory is freed" in draining.says("waits has 1 of 1 GPUs")
    (tmp_path / "0").unlink()
    draining.leased()
    (tmp_path / "0").write_text("40000 1")
    draining.end()
    for word in ("unchecked", "exclusive"):
        refused = job(1, word, here=1, FAKE_GPU_MEMORY=str(tmp_path)).says("refused")
        assert "only 0 of 1 GPUs are free (GPU-fake-0: 40,000 MiB held by pid 1 (" in refused


def test_only_the_gpus_that_a_process_was_given_count(job):
    assert job(1, CUDA_VISIBLE_DEVICES="1").leased() == ["GPU-fake-1"]
    assert job(1, CUDA_VISIBLE_DEVICES="GPU-fake-0").leased() == ["GPU-fake-0"]
    assert "this host has 1 of the 2 GPUs" in job(2, CUDA_VISIBLE_DEVICES="0").says("refused")


def test_a_slurm_job_is_a_host_of_its_own(job):
    assert job(0, SLURM_JOB_ID="1").leased() == job(0, SLURM_JOB_ID="2").leased() == []


def test_sessions_of_one_slurm_job_take_turns_and_the_first_to_end_leaves_the_others_their_place(job, tmp_path):
    first = job(1, here=1, SLURM_JOB_ID="7")
    first.leased()
    second = job(1, here=1, SLURM_JOB_ID="7")
    second.says("waits has 0 of 1 GPUs")
    third = job(1, here=1, SLURM_JOB_ID="7")
    third.says("waits 1 before it in the queue")
    first.end()
    assert second.leased() == ["GPU-fake-0"]
    assert "has 0 of 1 GPUs" in third.says("waits")
    second.end()
    assert third.leased() == ["GPU-fake-0"]
    assert (tmp_path / "leases" / "slurm-7").is_dir()
    third.end()
    assert not list((tmp_path / "leases").iterdir())


def test_what_a_killed_slurm_job_has_left_is_ended_and_tidied_by_the_next(job, tmp_path):
    killed = job(1, here=1, SLURM_JOB_ID="7")
    killed.leased()
    (lease,) = (tmp_path / "leases" / "slurm-7").glob("*.lease")
    killed.kill()
    after = job(1, here=1, SLURM_JOB_ID="8")
    assert after.leased() == ["GPU-fake-0"]  # it would say "double use" first
    assert not processes.find_marked(LEASE, str(lease))
    after.end()
    assert not list((tmp_path / "leases").iterdir())


def test_nothing_is_removed_from_a_folder_that_a_planted_link_leads_to(job, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("precious", "cpu", "GPU-mine"):
        (victim / name).touch()
    (tmp_path / "leases").mkdir(mode=0o1777)
    (tmp_path / "leases" / "slurm-7").symlink_to(victim)
    (tmp_path / "leases" / "slurm-9").symlink_to(victim)
    assert "slurm-7: belongs to another user" in job(0, SLURM_JOB_ID="7").says("refused")
    other = job(0, SLURM_JOB_ID="8")
    other.leased()
    other.end()
    assert {path.name for path in victim.iterdir()} == {"precious", "cpu", "GPU-mine"}


def test_planted_tickets_and_leases_stop_no_session(job, tmp_path):
    (tmp_path / "leases").mkdir(mode=0o1777)
    (tmp_path / "secret").write_text("secret words")
    (tmp_path / "leases" / "00000000000000000000-a.waiting").symlink_to(tmp_path / "secret")
    (tmp_path / "leases" / "00000000000000000000-b.lease").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "leases" / "00000000000000000000-c.waiting")
    os.mkfifo(tmp_path / "leases" / "00000000000000000000-d.lease")
    job(1, here=1).leased()
    assert "secret" not in job(1, here=1).says("waits")


def test_no_gpu_is_used_twice_in_one_slurm_job_whose_folder_comes_and_goes(job, tmp_path):
    rng = random.Random(5)
    jobs = [job(1, f"hold:{rng.uniform(0.01, 0.05)}", here=2, SLURM_JOB_ID="7") for _ in range(8)]
    heard = [each.process.communicate()[0] for each in jobs]
    assert all("double use" not in words and "left" in words for words in heard)
    assert not list((tmp_path / "leases").iterdir())


def test_no_gpu_is_used_twice_and_nothing_is_left_when_many_sessions_are_killed(job, tmp_path):
    rng = random.Random(4)
    sizes = [1] * 8 + [2] * 4 + [4] * 3 + [8] * 2
    rng.shuffle(sizes)
    jobs = [
        job(size, f"hold:{rng.uniform(0.02, 0.2)}", *(["die"] if index % 3 == 0 else []), here=8)
        for index, size in enumerate(sizes)
    ]
    heard = [each.process.communicate()[0] for each in jobs]
    assert all("double use" not in words for words in heard)
    leased = [line for words in heard for line in words.splitlines() if line.startswith("leased ")]
    assert [line.count("GPU-") for line in leased] == sizes
    ended = [each.process.returncode for each in jobs]
    assert ended == [-signal.SIGKILL if index % 3 == 0 else 0 for index in range(len(jobs))]
    last = job(8, here=8)
    last.leased()
    last.end()
    left = {path.name for path in (tmp_path / "leases").iterdir()}
    assert left == {"cpu", "turn", *(f"GPU-fake-{index}" for index in range(8))}


def test_a_session_ends_the_server_of_a_killed_one_before_it_uses_its_gpu(tmp_path):
    def measuring(name: str, output_len: int) -> subprocess.Popen:
        engine = {"weights": "dummy", "command": ["python", str(FAKE), "--itl-s", "0.01"]}
        load = {"num_prompts": 2, "lengths": "random", "input_len": 8, "output_len": output_len}
        config = check_run(run_config(engine=engine, workload=load, hardware={"gpus": 1}))
        (session,) = plan([(config, "fake")])
        file = sessionfile.write(session, tmp_path / name)
        return subprocess.Popen(
            [sys.executable, "-m", "vbench.session", str(file)], env=host(tmp_path, H100), stdout=subprocess.PIPE
        )

    killed = measuring("killed", output_len=1900)
    while b"ready" not in killed.stdout.readline():
        assert killed.poll() is None
    (lease,) = (tmp_path / "leases").glob("*.lease")
    killed.kill()
    killed.communicate()
    assert processes.find_marked(LEASE, str(lease))
    after = measuring("after", output_len=5)
    after.communicate()
    assert after.returncode in (0, 1)  # a busy host may make the run INVALID
    assert not processes.find_marked(LEASE, str(lease))
    record, *_ = (Record.load(path.parent) for path in (tmp_path / "after").glob("*/record.json"))
    assert record.failure is None
    assert record.environment["gpu_uuids"] == ["GPU-fake-0"]
    assert not list(tmp_path.glob("killed/*/record.json"))


def gpu(index: int, near: range) -> GpuFacts:
    return GpuFacts(index=index, uuid=f"g{index}", product=H100, memory_mib=81559, used_mib=3, near=frozenset(near))


def test_gpus_of_one_numa_node_are_taken_together_where_that_leaves_least_over():
    left, right = range(4), range(4, 8)
    free = [gpu(0, left), gpu(4, right), gpu(5, right), gpu(6, right)]
    assert choose_same_node(free, 1) == ["g0"]
    assert choose_same_node(free, 2) == ["g4", "g5"]
    assert choose_same_node(free, 4) == ["g4", "g5", "g6", "g0"]


def test_each_gpu_has_its_part_of_the_cores_near_it_and_none_is_in_two_parts():
    near = {"g0": set(range(8)), "g1": set(range(8)), "g2": set(range(8, 16)), "g3": set(range(8, 16))}
    found = cores.divide_among_gpus(near, range(16))
    assert found == {"g0": {0, 1, 2, 3}, "g1": {4, 5, 6, 7}, "g2": {8, 9, 10, 11}, "g3": {12, 13, 14, 15}}


def test_gpus_of_one_node_get_what_the_other_node_has_too():
    found = cores.divide_among_gpus({"g0": set(range(8)), "g1": set(range(8))}, range(16))
    assert {len(part) for part in found.values()} == {8}
    assert all(len(part & set(range(8))) == 4 for part in found.values())
    assert not found["g0"] & found["g1"]


@pytest.mark.parametrize(("of_the_host", "expected"), [(16, range(4, 8)), (64, range(16))])
def test_a_gpu_that_is_named_leaves_the_others_their_cores_unless_these_cores_are_a_jobs(
    monkeypatch, of_the_host, expected
):
    """CUDA_VISIBLE_DEVICES=1 on a host of four GPUs: two commands side by side shared all cores."""
    every = [GpuFacts(i, f"g{i}", H100, 81559, 0, frozenset(range(4 * i, 4 * i + 4))) for i in range(4)]
    monkeypatch.setattr(leases.gpus, "find_all_gpus", lambda: every)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(cores, "find_usable", lambda: list(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: of_the_host)
    assert leases._find_cores(["g1"]) == set(expected)


def test_cores_that_a_job_does_not_have_are_in_no_part_and_too_few_are_shared():
    assert cores.divide_among_gpus({"g0": set(range(64)), "g1": set()}, [2, 3, 9, 11, 12]) == {
        "g0": {2, 3},
        "g1": {9, 11},
    }
    assert cores.divide_among_gpus({"g0": set(), "g1": set()}, [0, 1]) == {"g0": {0, 1}, "g1": {0, 1}}


def test_the_cores_near_a_gpu_are_read_from_the_driver(tmp_path):
    ask = "from vbench.host import gpus; print([sorted(gpu.near) for gpu in gpus.find_gpus()])"
    env = host(tmp_path, f"{H100},{H100}") | {"FAKE_GPU_CORES": "0-1 2-3"}
    if (os.cpu_count() or 1) > 64:
        env["FAKE_GPU_CORES"] = "0-1 66-67"
    told = subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == f"[[0, 1], {[2, 3] if '2-3' in env['FAKE_GPU_CORES'] else [66, 67]}]"


def test_a_gpu_in_mig_mode_is_told_by_the_driver_and_left_out_by_auto(tmp_path):
    ask = (
        "from vbench.host import gpus; from vbench.compose import choices;"
        "print([gpu.is_sliced for gpu in gpus.find_gpus()], choices._this_host()['defaults'])"
    )
    env = host(tmp_path, f"{H100},{H100}")
    for sliced, told in (("", "[False, False] ['2xh100']"), ("1", "[False, True] ['1xh100']")):
        ended = subprocess.run(
            [sys.executable, "-c", ask], env=env | {"FAKE_GPU_MIG": sliced}, capture_output=True, text=True, check=True
        )
        assert ended.stdout.strip() == told


def test_linuxs_lists_of_cores_are_read():
    assert cores.parse_cores("0-3,8\n") == {0, 1, 2, 3, 8}


def test_a_driver_in_an_allocation_that_ends_orphans_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_LEASES", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    leases.end_orphans()
    assert list(tmp_path.iterdir()) == []
