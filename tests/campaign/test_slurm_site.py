"""What SLURM does to a site's campaigns: allocations, two commands at once, memory that runs out, nodes that fail."""

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import cluster
import numpy as np
import pytest
from doors import FAKE, driver, events, fake, host, run_folders, vbench
from test_slurm import (
    ended,
    ends,
    enter,
    folders,
    held_by,
    hold_once_recorded,
    jobs_of,
    records,
    submission,
    told,
    turn,
)

from vbench import tracking
from vbench.campaign.jobs import JobEnd
from vbench.campaign.jobs.slurm import Slurm
from vbench.schema.record import Record

pytestmark = pytest.mark.skipif(bool(cluster.missing()), reason=cluster.missing() or "")

# SLURM itself kills a step that uses more memory than its job asked for; a cgroup would need the host's consent.
KILLS_FOR_MEMORY = """\
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
"""
LOADS = ("workload=random", "workload.num_prompts=2", "workload.output_len=40", "engine.weights=dummy")
ON_SLURM = (
    "-m", "model=llama8b", "hydra/launcher=slurm", "hardware=1xh100", "launcher.retries=0", *LOADS,
    "hardware.slurm.partition=${hardware.slurm.gres_type}", "hardware.slurm.mem_gib_per_gpu=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def slurm():
    with cluster.cluster(KILLS_FOR_MEMORY) as made:
        yield made


def failures(home):
    return [Record.load(folder).failure for folder in run_folders(home)]


def node_of(slurm, job):
    return slurm.call("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()


def fail(slurm, node):
    """The controller takes the node for dead; it comes back at once, for its daemon still answers."""
    slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")


def test_sessions_of_three_sizes_pack_the_gpus_of_an_allocation_and_no_gpu_is_used_twice(slurm, tmp_path):
    campaign = [
        sys.executable, "-m", "vbench", "-m", "model=llama8b", "hardware=1xa100,2xa100,4xa100",
        "engine.max_num_seqs=8,9", *LOADS, fake("--itl-s", "0.05"),
    ]  # fmt: skip
    four = ",".join([cluster.PRODUCTS["a100"]] * 4)
    allocation = ["salloc", "--quiet", "--partition=a100", "--gres=gpu:a100:4", "--cpus-per-task=8", "--mem=8G"]
    left = subprocess.run(
        [*allocation, *campaign], cwd=tmp_path, env=host(tmp_path, four) | slurm.env, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert left.returncode in (0, 1), left.stdout + left.stderr  # a busy machine may make a run INVALID
    assert failures(tmp_path) == [None] * 6
    held = sorted(
        zip(events(tmp_path, "leased"), events(tmp_path, "ended"), strict=True), key=lambda each: each[0]["t"]
    )
    assert sorted(len(leased["gpus"]) for leased, _ in held) == [1, 1, 2, 2, 4, 4]
    for gpu in {gpu for leased, _ in held for gpu in leased["gpus"]}:
        turns = [(leased["t"], over["t"]) for leased, over in held if gpu in leased["gpus"]]
        assert all(first[1] <= second[0] for first, second in pairwise(sorted(turns))), f"{gpu}: {turns}"
    together = max(over["t"] for _, over in held) - min(leased["t"] for leased, _ in held)
    assert together < 0.9 * sum(over["t"] - leased["t"] for leased, over in held)
    assert not list((tmp_path / "leases").glob("slurm-*"))


SHOWING = """\
import os, sys
print("GPUs of the server:", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
os.execv(sys.executable, [sys.executable, "{fake}", *sys.argv[1:]])
"""


def test_servers_that_srun_starts_keep_the_gpus_of_their_leases(slurm, tmp_path):
    """SLURM gives a step that overlaps others all GPUs of the job: both servers would use the first one."""
    (tmp_path / "shown.py").write_text(SHOWING.format(fake=FAKE))
    server = f"[srun,--overlap,{sys.executable},{tmp_path}/shown.py,--itl-s,'0.02']"
    campaign = [
        sys.executable, "-m", "vbench", "-m", "model=llama8b", "hardware=1xa100", "engine.max_num_seqs=8,9", *LOADS,
        f"engine.command={server}",
    ]  # fmt: skip
    two = ",".join([cluster.PRODUCTS["a100"]] * 2)
    allocation = ["salloc", "--quiet", "--partition=a100", "--gres=gpu:a100:2", "--cpus-per-task=4", "--mem=8G"]
    left = subprocess.run(
        [*allocation, *campaign], cwd=tmp_path, env=host(tmp_path, two) | slurm.env, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert failures(tmp_path) == [None] * 2, left.stdout + left.stderr
    given = [line for log in tmp_path.glob("multirun/*/*/server.log") for line in log.read_text().splitlines()]
    given = sorted(line.rpartition(" ")[2] for line in given if line.startswith("GPUs of the server:"))
    assert given == sorted(gpu for leased in events(tmp_path, "leased") for gpu in leased["gpus"])
    readings = [load_telemetry(path) for path in tmp_path.glob("multirun/*/*/*/telemetry.npz")]
    assert all("cpu/frontend0_s" in names for names in readings)


def load_telemetry(path):
    with np.load(path) as columns:
        return set(columns)


def test_two_commands_at_once_under_a_bound_give_each_session_one_job(slurm, tmp_path, monkeypatch):
    words = (
        *ON_SLURM, "engine.max_num_seqs=8,9,10,11", "launcher.max_parallel=2", fake("--itl-s", "0.02"),
        f"launcher.setup=['{slurm.setup}']",
    )  # fmt: skip
    both = [driver(*words, cwd=tmp_path, **slurm.env) for _ in range(2)]
    said = [command.communicate(timeout=600)[0] for command in both]
    assert all(command.returncode in (0, 1) for command in both), "\n".join(said)
    assert len(jobs_of(slurm, tmp_path)) == 4
    assert failures(tmp_path) == [None] * 4
    assert len(events(tmp_path, "leased")) == 4
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert Counter(tracking.query()["tags.vbench.run_key"]).most_common(1)[0][1] == 1
    assert len(tracking.query()) == 4
    assert not list(tmp_path.glob("multirun/*/*/job.json"))


def test_a_job_that_uses_more_memory_than_it_asked_for_is_recorded_as_that_and_not_as_a_full_gpu(slurm, tmp_path):
    (tmp_path / "hog.py").write_text("import time\nall = bytearray(b'1') * (2 << 30)\ntime.sleep(600)\n")
    left = vbench(
        *ON_SLURM, "engine.command=[python,hog.py]", f"launcher.setup=['{slurm.setup}']", cwd=tmp_path, **slurm.env
    )
    assert left.returncode == 1, left.stdout + left.stderr
    (failure,) = failures(tmp_path)
    assert failure.kind == "oom_host"
    assert "exceeded memory limit" in failure.line


def test_a_job_whose_node_fails_is_recorded_as_that(slurm, tmp_path):
    never_again = ("+hardware.slurm.extra.requeue=false", "+hardware.slurm.extra.no-requeue=true")
    long = [word.replace("output_len=40", "output_len=400") for word in ON_SLURM]  # the run outlasts what is done here
    words = (*long, *never_again, f"launcher.setup=['{slurm.setup}']")
    with driver(*words, fake("--itl-s", "0.1"), cwd=tmp_path, **slurm.env) as command:
        slurm.until(lambda: events(tmp_path, "measuring"))
        (job,) = [job for job, where in folders(slurm) if where == str(tmp_path)]
        fail(slurm, node_of(slurm, job))
        said, _ = command.communicate(timeout=600)
    assert command.returncode == 1, said
    (failure,) = failures(tmp_path)
    assert failure.kind == "node_failed", failure.line


def test_a_job_whose_node_fails_goes_on_after_its_records_where_slurm_queues_it_again(slurm, tmp_path, monkeypatch):
    enter(slurm, tmp_path, monkeypatch)
    hold = tmp_path / "hold"
    each = submission(slurm, 2, 3, 4, engine=held_by(hold))
    (job,) = Slurm().submit([each])
    slurm.until(lambda: hold_once_recorded(each, hold))
    slurm.until(lambda: told(each).count("measuring") > told(each).count("recorded"))
    before = ends(each)
    assert len(before) < 3
    fail(slurm, node_of(slurm, job))
    slurm.until(lambda: '"number": 1, "cut": "node_failed"' in turn(each))
    hold.unlink()
    slurm.until(lambda: told(each).count('"leased"') == 2)
    assert [state.end for state in ended(slurm, [job])] == [JobEnd.completed]
    assert set(records(each)) == {2, 3, 4}
    assert before.items() <= ends(each).items()
