"""Checks that MLflow has every point of a SLURM campaign exactly once after servers, jobs and the driver were killed.

    python benchmarks/chaos.py                  40 points in 10 sessions, some minutes; needs root and SLURM
    python benchmarks/chaos.py --sessions 6 --parallel 2

tests/cluster.py starts a real SLURM, and the servers are tests/fake_vllm.py. The command is given twice at the same
time, once in an allocation of its own (salloc). A third command has an experiment that the store refuses, because it
was deleted there. While these campaigns run, the script
- kills a server, a job and the driver with SIGKILL, and starts the driver again,
- ends one job with `scancel` and requeues one with `scontrol requeue`,
- takes every GPU for a partition of higher priority, from jobs with a grace time and from jobs without,
- stops the controller for a while.
Then it repeats the same command until nothing is left to do. It prints these events and every fault that it found. The
records of the refused experiment must be on disk, and the command must have named the experiment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cluster import Cluster, cluster, missing  # noqa: E402  the checkout is the package
from doors import driver, fake, furnish, host  # noqa: E402

from vbench import tracking  # noqa: E402
from vbench.schema.record import RECORD, Record, is_aside  # noqa: E402
from vbench.session.measuring import RETRIES  # noqa: E402

LOADS = (2, 3, 4, 5)
TOKENS, ITL_S = 40, 0.05  # two seconds a point
HARDWARE = ("2xh100", "2xa100")
REFUSED, ALLOCATION = "refused", "driver"
REFUSED_POINTS = len(LOADS) * len(HARDWARE)
SERVER = "fake_vllm.py --"  # of a server's command line; a driver's has a comma there
AGAIN = 5  # the most times that the command is given


@dataclass
class Campaign:
    """One command that is run repeatedly, and the files and processes that it leaves in its folder."""

    slurm: Cluster
    home: Path
    sessions: int
    parallel: int  # sessions at a time: few enough that some are left for the last fault
    refusal: str = ""  # what the command with the refused experiment printed
    befell: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def points(self) -> int:
        return self.sessions * len(LOADS)

    def start(self, allocated: bool = False) -> subprocess.Popen[str]:
        """Starts the command once more, in an allocation of its own if asked."""
        words = self.words(self.sessions // len(HARDWARE))
        return self._start_allocated(words) if allocated else driver(*words, cwd=self.home, **self.slurm.env)

    def refuse(self) -> None:
        """Makes the store refuse an experiment: it is deleted there."""
        from vbench.tracking.opening import connect, experiment_id

        with self.chosen_store():
            connect().delete_experiment(experiment_id(connect(), REFUSED))

    def start_refused(self) -> subprocess.Popen[str]:
        """Starts the command whose experiment the store refuses once more."""
        return driver(*self.words(1), f"experiment={REFUSED}", cwd=self.home, **self.slurm.env)

    def words(self, seats: int) -> tuple[str, ...]:
        """The words of the command for so many sessions on each kind of hardware."""
        numbers = ",".join(str(64 + each) for each in range(seats))
        return (
            "-m", "hydra/launcher=slurm", "model=llama8b", f"hardware={','.join(HARDWARE)}", "engine.weights=dummy",
            f"workload.num_prompts={','.join(map(str, LOADS))}", "workload=random", "workload.input_len=16",
            f"workload.output_len={TOKENS}", f"engine.max_num_seqs={numbers}", "launcher.retries=3",
            f"launcher.max_parallel={self.parallel}", f"launcher.setup=['{self.slurm.setup}']",
            "hardware.slurm.partition=${hardware.slurm.gres_type}",
            "hardware.slurm.cpus_per_gpu=1", "hardware.slurm.mem_gib_per_gpu=1", fake("--itl-s", str(ITL_S)),
        )  # fmt: skip

    def records(self, experiment: str = "default") -> list[Record]:
        """An experiment's records, including the failed ones that were set aside for a retry."""
        return [Record.load(path.parent) for path in self.home.glob(f"multirun/{experiment}/*/*/{RECORD}")]

    def measurements(self) -> list[str]:
        """The run keys of the measurements, without those that were put aside to be measured again."""
        paths = [path.parent for path in self.home.glob(f"multirun/default/*/*/{RECORD}")]
        found = [(is_aside(folder), Record.load(folder)) for folder in paths]
        measured = [record for aside, record in found if not record.failure and not (aside and is_retriable(record))]
        return [record.run_key for record in measured]

    def processes(self, words: str) -> list[int]:
        """The pids of processes that run in this campaign's folder and have the words in their command line."""
        return [int(each.name) for each in Path("/proc").glob("[0-9]*") if _is(each, words, self.home)]

    def queue(self, *states: str) -> list[str]:
        """The ids of this campaign's jobs in the queue, in these states if any are given."""
        lines = self.slurm.call("squeue", "-h", "-r", *states, "-o", "%i %Z %j").stdout.splitlines()
        jobs = [line.split() for line in lines]
        return [job for job, folder, name in jobs if folder == str(self.home) and name != ALLOCATION]

    def running(self) -> list[str]:
        """The running job with the most points left, as a list; empty if no job has any left."""
        jobs = {json.loads(path.read_text())["id"]: path.parent for path in self.home.glob("multirun/*/*/job.json")}
        done = {job: len(list(jobs[job].glob(f"*/{RECORD}"))) for job in self.queue("-t", "running") if job in jobs}
        return sorted((job for job in done if done[job] < len(LOADS)), key=done.__getitem__)[:1]

    def measured_refused(self) -> set[str]:
        """The run keys of the refused experiment that have been measured."""
        return {record.run_key for record in self.records(REFUSED) if not record.failure}

    def chosen_store(self) -> AbstractContextManager[object]:
        """Within the block this process reads and writes the campaign's store."""
        return patch.dict(os.environ, MLFLOW_TRACKING_URI=f"sqlite:///{self.home}/mlruns/mlflow.db")

    def _start_allocated(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        allocation = ["salloc", "--quiet", "--partition=urgent", "--mem=500M", f"--job-name={ALLOCATION}"]
        return subprocess.Popen(
            [*allocation, sys.executable, "-m", "vbench", *words],
            cwd=self.home, env=host(self.home) | self.slurm.env, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    @property
    def measured(self) -> int:
        """How many points have been measured."""
        return len(set(self.measurements()))

    def go_on(self) -> None:
        """Waits until another point has been measured."""
        before = self.measured
        self.slurm.until(lambda: self.measured > before)

    def note(self, what: str) -> None:
        self.befell.append(f"{time.monotonic() - self.began:6.1f} s  {self.measured:3d} measured  {what}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=10, help="an even number; each has four points")
    parser.add_argument("--parallel", type=int, default=4, help="how many sessions run at a time")
    parser.add_argument("--away-s", type=float, default=30.0, help="how many seconds the controller is stopped")
    options = parser.parse_args()
    if why := missing():
        sys.exit(why)
    with tempfile.TemporaryDirectory() as home, cluster() as slurm:
        campaign = Campaign(slurm, Path(home), options.sessions, options.parallel)
        given = through_it_all(campaign, options.away_s)
        print("\n".join(campaign.befell))
        faults = wrong(campaign)
        verdicts = Counter(record.verdict for record in campaign.records())
        print(f"\n{campaign.points} points, command given {given} times; records: {dict(verdicts)}")
        print(f"refused: {len(campaign.records(REFUSED))} records on disk; {refusal(campaign)}")
        print("\n".join(faults) or "every point is in MLflow once; no process, no job and no lease is left")
        return bool(faults)


def through_it_all(campaign: Campaign, away_s: float) -> int:
    """Runs the campaign with all faults; returns how often the command was given."""
    furnish(campaign.home)
    campaign.refuse()
    with ended(campaign.start_refused()) as other, ended(campaign.start(allocated=True)) as beside:
        with ended(campaign.start()) as command:
            until_its_death(campaign)
            command.kill()
        with ended(campaign.start()) as command:
            next(line for line in command.stdout if "attached to" in line)
            until_its_end(campaign, away_s)
            command.wait()
            said, given = command.stdout.read(), 3
        campaign.note(f"the command in the allocation has ended (exit code {beside.wait()})")
        campaign.refusal = other.communicate()[0]
    while command.returncode and campaign.measured < campaign.points and given < AGAIN:
        campaign.note(f"the command is given again, for it said: {said.strip().splitlines()[-1]}")
        with ended(campaign.start()) as command:
            said, given = command.stdout.read(), given + 1
            command.wait()
    campaign.note(f"the command has nothing left to do (exit code {command.returncode})")
    finish_refused(campaign)
    return given


def finish_refused(campaign: Campaign) -> None:
    """Gives the refused command again while faults, such as the scancel, have left points of it unmeasured."""
    given = 1
    while len(campaign.measured_refused()) < REFUSED_POINTS and given < AGAIN:
        campaign.note(f"the refused command is given again: {len(campaign.measured_refused())} points measured")
        with ended(campaign.start_refused()) as command:
            campaign.refusal, given = command.communicate()[0], given + 1


def refusal(campaign: Campaign) -> str:
    """The line that names the refused experiment."""
    return next((line for line in campaign.refusal.splitlines() if line.startswith("not filed")), "not named")


def until_its_death(campaign: Campaign) -> None:
    campaign.go_on()
    campaign.note("a server is killed")
    os.kill(_some(campaign, lambda: campaign.processes(SERVER)), signal.SIGKILL)

    campaign.go_on()
    campaign.note("a job is killed")
    os.kill(_some(campaign, lambda: campaign.processes("submitit.core._submit")), signal.SIGKILL)

    campaign.go_on()
    campaign.note("the driver is killed, and the command given again")


def until_its_end(campaign: Campaign, away_s: float) -> None:
    slurm = campaign.slurm
    campaign.go_on()
    campaign.note("scancel of a job")
    slurm.call("scancel", _some(campaign, campaign.running))

    campaign.go_on()
    campaign.note("scontrol requeue of a job")
    slurm.call("scontrol", "requeue", _some(campaign, campaign.running))

    campaign.go_on()
    campaign.note("the urgent partition takes all GPUs, with and without grace")
    release = slurm.take_all()
    campaign.note(f"it has them; servers left: {len(campaign.processes(SERVER))}")
    release()

    campaign.go_on()
    campaign.note("the controller goes away")
    slurm.stop_controller()
    time.sleep(away_s)
    slurm.start_controller()
    campaign.note("the controller is back")


@contextlib.contextmanager
def ended(command: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Yields the command, and kills it when the block ends if it still runs."""
    try:
        yield command
    finally:
        command.kill()
        command.communicate()


def wrong(campaign: Campaign) -> list[str]:
    """The faults found at the end, one sentence each; empty if there are none."""
    found = []
    measured = Counter(campaign.measurements())
    found += [f"{key} was measured {times} times" for key, times in measured.items() if times > 1]
    refused = campaign.measured_refused()
    found += [f"{len(refused)} points of the refused experiment on disk"] * (len(refused) != REFUSED_POINTS)
    found += ["the refused experiment is not named"] * (f"experiment {REFUSED!r} was deleted" not in campaign.refusal)
    with campaign.chosen_store():
        filed = tracking.query()
    keys = Counter(filed["tags.vbench.run_key"])
    found += [f"{key} is in MLflow {times} times" for key, times in keys.items() if times > 1]
    found += [f"{key} was measured and is not in MLflow" for key in measured if key not in keys]
    found += [f"{len(keys)} points in MLflow, not {campaign.points}"] if len(keys) != campaign.points else []
    unfinished = int((filed["tags.vbench.validity"] == "FAILED").sum())
    found += [f"{unfinished} points in MLflow are not measured"] if unfinished else []
    for name, left in (
        ("servers", campaign.processes(SERVER)),
        ("jobs", campaign.processes("submitit")),
        ("jobs in the queue", campaign.queue()),
        ("leases", sorted(campaign.home.glob("leases/**/*.lease"))),
    ):
        found += [f"{name} left: {', '.join(map(str, left))}"] if left else []
    return found


def is_retriable(record: Record) -> bool:
    """Whether a session measures such a run again at once."""
    return any(reason.code in RETRIES for reason in (*record.invalid, *record.warnings))


def _some(campaign: Campaign, living: Callable[[], list]):
    found = []
    campaign.slurm.until(lambda: found.extend(living()) or found)
    return random.choice(found)


def _is(process: Path, words: str, home: Path) -> bool:
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return words in command and (process / "cwd").readlink() == home
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
