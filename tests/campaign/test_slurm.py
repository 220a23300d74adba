"""Sessions as jobs of a real SLURM (tests/cluster.py), with the fake server in vLLM's stead."""

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import cluster
import pytest
from builders import run_config
from doors import FAKE, driver, fake, host, run_folders, vbench

from vbench import tracking
from vbench.campaign.jobs import JobEnd, JobPhase, Submission, batch, queue
from vbench.campaign.jobs.batch import ATTEMPT, PATIENCE
from vbench.campaign.jobs.slurm import Slurm
from vbench.plan.resources import resources
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.errors import Refused
from vbench.schema.record import Record, is_aside
from vbench.session import sessionfile

pytestmark = pytest.mark.skipif(bool(cluster.missing()), reason=cluster.missing() or "")

# A run of three minutes, which outlasts whatever a test does meanwhile: one request after the other.
LONG = {"output_len": 1900, "max_concurrency": 1}


@pytest.fixture(scope="module")
def made():
    with cluster.cluster() as made:
        yield made


@pytest.fixture
def slurm(made, tmp_path, monkeypatch):
    """The cluster, and this process a user of it in a folder of its own, whose jobs do not outlive the test."""
    enter(made, tmp_path, monkeypatch)
    yield made
    made.call("scancel", *[job for job, where in folders(made) if where == str(tmp_path)])
    made.until(lambda: str(tmp_path) not in made.call("squeue", "-h", "-o", "%Z").stdout.split())


@pytest.fixture(scope="module")
def limited(made, tmp_path_factory):
    """A session whose job has a minute: submitted first and looked at last, for SLURM takes its time over limits."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(made, tmp_path_factory.mktemp("limited"), monkeypatch)
        where = {"partition": "urgent", "time_min": 1}  # where nobody takes it away
        each = submission(made, 2, 3, 4, 5, gpu=None, slurm_parts=where, workload={"output_len": 200})
        return each, *Slurm().submit([each])


@pytest.fixture(scope="module", autouse=True)
def _early(limited):
    """Submits it before the first test."""


def enter(made, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for key, value in (host(folder) | made.env).items():
        monkeypatch.setenv(key, value)


def folders(slurm):
    """Each job, and the folder that it was submitted from."""
    return [line.split() for line in slurm.jobs("%i %Z")]


def submission(slurm, *num_prompts, gpus=1, gpu="h100", launcher=(), slurm_parts=(), engine=(), workload=()):
    """A session of a point for each number of prompts, each of about two seconds; without a GPU where `gpu` is None."""
    asked = {"partition": gpu, "gres_type": gpu, "cpus_per_gpu": 2, "mem_gib_per_gpu": 4, **dict(slurm_parts)}
    on = {"gpus": gpus, "gpu": {"name": gpu, "product": gpu.upper(), "memory_mib": 80000}} if gpu else {}
    parts = {
        "experiment": "x",
        "launcher": {"setup": [slurm.setup], **dict(launcher)},
        "hardware": {**on, "slurm": asked},
        "parallelism": {"tensor_parallel_size": gpus},
        "engine": {"weights": "dummy", "command": ["python", str(FAKE), "--itl-s", "0.05"], **dict(engine)},
    }
    load = {"lengths": "random", "input_len": 16, "output_len": 40, **dict(workload)}
    configs = [run_config(**parts, workload={**load, "num_prompts": n}) for n in num_prompts]
    (session,) = plan((check_run(config), "fake") for config in configs)
    path = sessionfile.write(session, Path.cwd() / "multirun" / "x" / session.folder)
    return Submission(session, path, resources(session))


def records(each):
    """The session's records, by number of prompts."""
    paths = [path for path in each.path.parent.glob("*/record.json") if not is_aside(path.parent)]
    found = [Record.load(path.parent) for path in paths]
    return {record.config["workload"]["num_prompts"]: record for record in found}


def ends(each):
    """When each of its records ended, by number of prompts: a record that is made again tells another time."""
    return {number: record.ended_at for number, record in records(each).items()}


def ended(slurm, ids, timeout_s=120):
    slurm.until(lambda: all(state.phase is JobPhase.ended for state in queue.states(ids).values()), timeout_s)
    return [queue.states(ids)[each] for each in ids]


def told(each):
    path = each.path.parent / "events.jsonl"
    return path.read_text() if path.exists() else ""


def turn(each):
    path = each.path.parent / ATTEMPT
    return path.read_text() if path.exists() else ""


def jobs_of(slurm, home):
    """Partition, GPUs, cores and state of each job that was submitted from this folder."""
    lines = [line.rpartition(" ") for line in slurm.jobs("%P %b %C %T %Z")]
    return [line for line, _, where in lines if where == str(home)]


def servers():
    """Pids of the servers that this test's jobs have started and that live."""
    return [int(found.parent.name) for found in Path("/proc").glob("[0-9]*/cwd") if serves(found.parent)]


def serves(process):
    try:
        words = (process / "cmdline").read_bytes()
        return FAKE.name.encode() in words and (process / "cwd").readlink() == Path.cwd()
    except OSError:
        return False


def test_preempted_jobs_go_on_at_the_next_point_with_grace_and_without_and_those_of_an_earlier_build(
    slurm, monkeypatch
):
    holds = [Path.cwd() / f"hold{number}" for number in range(3)]
    engines = [held_by(hold) for hold in holds]
    sessions = [
        submission(slurm, 2, 3, 4, gpu=gpu, engine=engine)
        for gpu, engine in zip(("h100", "a100"), engines, strict=False)
    ]
    ids = Slurm().submit(sessions)
    sessions.append(submission(slurm, 2, 3, 4, gpus=2, engine=engines[2]))
    with monkeypatch.context() as before:
        before.setattr(batch.job, "__module__", "vbench.jobs.batch")
        ids += Slurm().submit(sessions[2:])
    assert any(b"vbench.jobs.batch" in path.read_bytes() for path in Path("multirun/x/slurm").glob("*.pkl"))
    slurm.until(lambda: [hold_once_recorded(*pair) for pair in zip(sessions, holds, strict=True)] == [True] * 3)
    release = slurm.take_all()
    assert servers() == []
    for hold in holds:
        hold.unlink()
    before = [ends(each) for each in sessions]
    assert all(1 <= len(each) < 3 for each in before)
    release()
    assert [state.end for state in ended(slurm, ids)] == [JobEnd.completed] * 3
    for each, earlier in zip(sessions, before, strict=True):
        assert set(ends(each)) == {2, 3, 4}
        assert earlier.items() <= ends(each).items()


def held_by(hold):
    """The engine whose server admits no request while this file exists."""
    return {"command": ["python", str(FAKE), "--itl-s", "0.05", "--hold", str(hold)]}


def hold_once_recorded(each, hold):
    """Holds the session's server back from its first record on: a session that started early does not end meanwhile."""
    if "recorded" in told(each):
        hold.touch()
    return hold.exists()


def test_a_job_of_an_array_is_requeued_alone_although_its_node_has_not_answered_slurms_signal(slurm):
    """A preempted job gets SIGCONT, then SIGTERM, and squeue calls it SIGNALING until slurmd has answered the first."""
    alike = [submission(slurm, 2, engine={"max_num_seqs": seats}, workload=LONG) for seats in (8, 9)]
    first, last = Slurm().submit(alike)
    slurm.until(lambda: all("measuring" in told(each) for each in alike))
    (own_id,) = slurm.call("squeue", "-h", "-j", last, "-o", "%A").stdout.split()
    assert own_id == last.partition("_")[0]  # which as an id of scontrol's means the whole array
    daemon = slurm.daemons[slurm.call("squeue", "-h", "-j", last, "-o", "%N").stdout.strip()]
    daemon.send_signal(signal.SIGSTOP)
    try:
        slurm.call("scancel", "--signal=CONT", last)
        os.kill(next(parent(pid) for pid in servers() if task_of(pid) == "1"), signal.SIGTERM)
        log = batch.log_path(last, alike[1].path.parent)
        slurm.until(lambda: "SIGTERM; requeued (state before: SIGNALING)" in log.read_text())
    finally:
        daemon.send_signal(signal.SIGCONT)
    restarts = [f"Restarts={number}" in slurm.call("scontrol", "show", "job", job).stdout
                for job, number in ((first, 0), (last, 1))]  # fmt: skip
    assert restarts == [True, True]
    assert queue.states([first])[first].phase is JobPhase.running


def task_of(pid):
    """The place in its array of the job that has started this process."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(each for each in variables if each.startswith(b"SLURM_ARRAY_TASK_ID=")).decode().partition("=")[2]


def test_a_cancelled_job_leaves_no_server_and_is_not_queued_again(slurm):
    each = submission(slurm, 2, 3, workload=LONG)
    (job,) = Slurm().submit([each])
    slurm.until(lambda: "measuring" in told(each))
    assert servers()
    Slurm().cancel([job])
    assert [state.end for state in ended(slurm, [job])] == [JobEnd.cancelled]
    assert servers() == []
    assert records(each) == {}


def test_the_server_of_a_job_that_was_killed_is_ended_by_the_next_job_on_its_node(slurm):
    killed, following = submission(slurm, 2, workload=LONG), submission(slurm, 2, gpus=2)
    ids = Slurm().submit([killed])
    slurm.until(lambda: "measuring" in told(killed))
    (orphan,) = servers()
    os.kill(parent(orphan), signal.SIGKILL)
    assert [state.end for state in ended(slurm, ids)] == [JobEnd.failed]
    assert servers() == [orphan]
    ids = Slurm().submit([following])
    slurm.until(lambda: "leased" in told(following))
    assert orphan not in servers()
    assert [state.end for state in ended(slurm, ids)] == [JobEnd.completed]


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_run_that_is_begun_again_and_again_gives_way_to_the_next(slurm):
    each = submission(slurm, 2, 3, workload=LONG)
    (job,) = Slurm().submit([each])
    for turn in range(1, PATIENCE + 1):
        slurm.until(lambda turn=turn: told(each).count('"measuring"') == turn)
        slurm.call("scontrol", "requeue", job)
    slurm.until(lambda: told(each).count('"measuring"') == PATIENCE + 1)
    given_up = records(each)
    assert {number: record.failure.kind for number, record in given_up.items()} == {2: "preempted"}
    assert told(each).rstrip().count(given_up[2].run_key) > PATIENCE
    assert records(each).keys() == {2}


def test_what_slurm_refuses_is_refused_with_its_word_and_nothing_is_left(slurm):
    good, bad = submission(slurm, 2), submission(slurm, 3, gpus=2, slurm_parts={"partition": "nowhere"})
    with pytest.raises(Refused, match=r"SLURM refuses it: .*[Ii]nvalid partition.*partition nowhere.*hardware\.slurm"):
        Slurm().submit([good, bad])
    slurm.until(lambda: str(Path.cwd()) not in slurm.call("squeue", "-h", "-o", "%Z").stdout.split())


def test_sessions_that_ask_for_the_same_are_one_array_which_keeps_the_bound(slurm):
    bound = {"max_parallel": 1}
    alike = [
        submission(slurm, 2, engine={"max_num_seqs": seats}, launcher=bound, workload=LONG) for seats in (8, 9, 10)
    ]
    ids = Slurm().submit(alike)
    assert [each.partition("_")[2] for each in ids] == ["0", "1", "2"]
    slurm.until(lambda: "2 JobArrayTaskLimit" in waiting(slurm))


def test_a_job_is_known_before_slurm_has_told_its_id(slurm):
    noted, hold = [], {"extra": {"hold": "true"}}
    alike = [submission(slurm, 2, engine={"max_num_seqs": seats}, slurm_parts=hold) for seats in (8, 9)]
    other = submission(slurm, 2, gpus=2, slurm_parts=hold)
    ids = Slurm().submit([replace(each, note=noted.append) for each in (*alike, other)])
    later = Slurm()
    assert [state.phase for state in later.states(noted).values()] == [JobPhase.queued] * 3
    later.cancel([noted[1]])
    slurm.until(lambda: later.states(noted)[noted[1]].end is JobEnd.cancelled)
    assert [queue.states(ids)[job].phase for job in ids] == [JobPhase.queued, JobPhase.ended, JobPhase.queued]
    assert queue.states([queue.provisional_id("vbench that never arrived", 0)]).popitem()[1].phase is JobPhase.ended


def test_sessions_that_ask_for_different_things_keep_the_bound_too(slurm):
    bound = {"max_parallel": 2}
    sizes = [submission(slurm, 2, gpus=size, launcher=bound, workload=LONG) for size in (1, 2, 4)]
    ids = Slurm().submit(sizes)
    assert len({each.partition("_")[0] for each in ids}) == 3
    slurm.until(lambda: "1 Dependency" in waiting(slurm))


def waiting(slurm):
    """How many jobs wait, and why, in one line."""
    lines = [line.split() for line in slurm.jobs("%Z %T %r")]
    why = [reason for where, state, reason in lines if state == "PENDING" and where == str(Path.cwd())]
    return f"{len(why)} {' '.join(sorted(set(why)))}"


def test_a_controller_that_is_away_says_nothing_of_jobs_and_is_waited_for(slurm):
    each = submission(slurm, 2)
    slurm.stop_controller()
    assert queue.states(["1"])["1"].phase is JobPhase.unknown
    back = threading.Timer(1.0, slurm.start_controller)
    back.start()
    ids = Slurm().submit([each])
    back.join()
    assert [state.end for state in ended(slurm, ids)] == [JobEnd.completed]
    assert set(records(each)) == {2}


def test_a_job_that_the_queue_has_forgotten_is_found_in_the_completion_file_or_is_lost(slurm):
    job = sbatch(slurm, "--wrap=true")
    ended(slurm, [job])
    slurm.until(lambda: queue.read_accounting([job]))
    assert queue.read_accounting([job])[job].end is JobEnd.completed
    assert queue.states(["999999"])["999999"].end is JobEnd.lost


@pytest.mark.skipif(bool(cluster.missing(accounted=True)), reason=cluster.missing(accounted=True) or "")
def test_accounting_tells_how_jobs_ended_of_arrays_too_that_never_started(monkeypatch):
    with cluster.cluster(accounted=True) as slurm:
        monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
        done, failed = sbatch(slurm, "--wrap=true"), sbatch(slurm, "--wrap=false")
        array = sbatch(slurm, "--hold", "--array=0-3%1", "--wrap=true")
        slurm.call("scancel", array)
        ids = [done, failed, f"{array}_0", f"{array}_3"]
        slurm.until(lambda: queue.read_accounting(ids).keys() == {*ids})
        ends = [queue.read_accounting(ids)[each].end for each in ids]
        assert ends == [JobEnd.completed, JobEnd.failed, JobEnd.cancelled, JobEnd.cancelled]


def sbatch(slurm, *words):
    return slurm.call("sbatch", "--parsable", "--output=/dev/null", *words).stdout.strip()


def test_the_cards_own_line_becomes_two_jobs_and_six_runs(slurm, tmp_path, monkeypatch):
    ended = vbench(
        "-m", "model=llama70b", "hardware=2xh100,4xh100", "workload.num_prompts=10,80,320", "engine.weights=dummy",
        "hydra/launcher=slurm", fake("--itl-s", "0.002"), f"launcher.setup=['{slurm.setup}']", cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # a busy machine may make a run INVALID
    assert sorted(jobs_of(slurm, tmp_path)) == [
        "h100 gres:gpu:h100:2 16 COMPLETED",
        "h100 gres:gpu:h100:4 32 COMPLETED",
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    filed = tracking.query()
    assert set(filed["tags.vbench.validity"]) <= {"VALID", "INVALID"}
    asked = {(row["params.hardware.gpus"], row["params.workload.num_prompts"]) for _, row in filed.iterrows()}
    assert asked == {(gpus, load) for gpus in (2, 4) for load in (10, 80, 320)}
    assert len(filed) == 6


def test_a_setup_that_fails_ends_the_job_before_anything_is_started(slurm, tmp_path):
    ended = vbench(
        "-m", "model=llama8b", "hardware=1xh100", "workload=random", "workload.num_prompts=2", "engine.weights=dummy",
        "hydra/launcher=slurm", fake(), f"launcher.setup=['{slurm.setup}','module-load cuda']", "launcher.retries=0",
        cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "module-load: command not found" in ended.stdout
    (folder,) = run_folders(tmp_path)
    failure = Record.load(folder).failure
    assert failure
    assert "module-load: command not found" in failure.line
    assert not list(tmp_path.glob("multirun/*/*/server*.log"))


def test_a_later_command_collects_what_a_detached_one_left_and_keeps_its_bound_beside_it(slurm, tmp_path, monkeypatch):
    words = (
        "-m", "model=llama8b", "hardware.slurm.partition=${hardware.slurm.gres_type}", "launcher.max_parallel=2",
        "workload=random", "workload.num_prompts=2,3", "workload.output_len=20", "engine.weights=dummy",
        "hydra/launcher=slurm", fake("--itl-s", "0.01"), f"launcher.setup=['{slurm.setup}']",
    )  # fmt: skip
    left = vbench(
        *words, "hardware=1xh100,1xa100", "+hardware.slurm.extra.hold=true", "launcher.detach=true", cwd=tmp_path
    )
    assert left.returncode == 0, left.stdout + left.stderr
    assert "run the same command again" in left.stdout
    command = driver(*words, "hardware=1xh100,2xh100", cwd=tmp_path)
    assert "attached to slurm job" in command.stdout.readline()
    assert "1 session waits for a free slot: 2 jobs are in flight" in command.stdout.readline()
    assert len(jobs_of(slurm, tmp_path)) == 2
    slurm.call("scontrol", "release", *[job for job, where in folders(slurm) if where == str(tmp_path)])
    said, _ = command.communicate()
    assert command.returncode in (0, 1), said
    assert sorted(line.split()[0] for line in jobs_of(slurm, tmp_path)) == ["a100", "h100", "h100"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert len(tracking.query()) == 4


def test_a_job_at_its_time_limit_is_queued_again_and_goes_on(slurm, limited):
    each, job = limited
    assert [state.end for state in ended(slurm, [job], 240)] == [JobEnd.completed]
    assert "Restarts=0" not in slurm.call("scontrol", "show", "job", job).stdout
    assert '"cut": "time_limit"' in turn(each)
    assert set(records(each)) == {2, 3, 4, 5}
    assert all(record.failure is None for record in records(each).values())


def test_where_sbatch_finds_no_controller_the_line_says_what_to_do(slurm, monkeypatch):
    each = submission(slurm, 2)
    monkeypatch.delenv("SLURM_CONF")  # as on a host that no cluster was set up on
    with pytest.raises(Refused, match=r"sbatch finds no controller: .*submit from a login node, or set SLURM_CONF"):
        Slurm().submit([each])
