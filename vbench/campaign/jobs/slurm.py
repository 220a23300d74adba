"""Sessions as batch jobs of SLURM, submitted by submitit: one array for all that ask for the same.

What submitit pickles is a function and the path of a session's file. Its own word on how a job ended is not asked for:
its result file says "error" of a job that was preempted and is run again, and its polling hangs without slurmdbd.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from vbench.campaign.jobs import JobEnd, JobPhase, State, Submission, queue, strict
from vbench.campaign.jobs.batch import job
from vbench.schema.errors import Refused

WARNING_S = 90  # before the time limit: enough for servers to end and their memory to be seen drained
ARRAY = 1000  # sessions in one: SLURM's own limit (MaxArraySize) is 1001 unless the site says otherwise
# Deaf until it listens: a warning that comes while modules are imported would kill it.
PYTHON = f"""sh -c 'trap "" TERM USR2; exec "$0" "$@"' {shlex.quote(sys.executable)}"""
FOLDER = "slurm"  # below the experiment's: scripts, pickles and what jobs print
CANCELLED = State(JobPhase.ended, JobEnd.cancelled, "it left the queue before it began")
POLL_S = 3.0  # the queue is not asked more often: a controller has other users


class Slurm:
    """`hydra/launcher=slurm`. A job's id is SLURM's: 123, or 123_4 in an array."""

    name = "slurm"
    on_this_host = False

    def __init__(self) -> None:
        self._asked_at = -POLL_S
        self._known: dict[str, State] = {}

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Job ids, in order. While the controller is away it is waited for.

        Raises Refused, with what sbatch said, where SLURM does not take one of them; none of them is left then.
        """
        ids: dict[Path, str] = {}
        try:
            for members, asked in submissions(batch):
                paths = [each.path for each in members]
                ids |= dict(zip(paths, _submitted(members, asked), strict=True))
        except BaseException:
            self.cancel(list(ids.values()))
            raise
        return [ids[each.path] for each in batch]

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        over = {each for each, state in self._known.items() if state.phase is JobPhase.ended}  # and stays it
        live = {*self._known, *ids} - over
        if time.monotonic() - self._asked_at >= POLL_S or not self._known.keys() >= live:
            self._known |= {each: self._told(each, state) for each, state in queue.states(live).items()}
            self._asked_at = time.monotonic()
        return {each: self._known[each] for each in ids}

    def cancel(self, ids: Sequence[str]) -> None:
        queue.cancel(ids)

    def log(self, job_id: str, folder: Path) -> Path:
        return folder.parent / FOLDER / f"{job_id}_0_log.out"

    def _told(self, job_id: str, state: State) -> State:
        """SLURM drops a job of an array that is cancelled as it waits, and tells nobody; no other end is like that."""
        waited = job_id in self._known and self._known[job_id].phase is JobPhase.queued
        return CANCELLED if state is queue.GONE and waited else state


def submissions(batch: Sequence[Submission]) -> Iterator[tuple[Sequence[Submission], dict[str, Any]]]:
    """Each submission to make: its sessions, and what to ask of sbatch for all of them, in submitit's words. Pure.

    One array keeps `launcher.max_parallel` by a bound of its own. Several arrays know nothing of each other: where they
    are more jobs than that, each session stands in one of as many lanes, of jobs that have a name in common and run one
    after the other.
    """
    groups = list(_alike(batch))
    bound = (batch[0].session.launcher.max_parallel if batch else None) or len(batch)
    if len(groups) == 1 or len(batch) <= bound:
        for members in groups:
            parallel = {"job_name": _name(members), "array_parallelism": bound}
            yield members, parameters(members[0]) | parallel
    else:
        for place, each in enumerate(batch):
            lane = f"-{place % bound}" if place % bound else ""
            singly = {"job_name": f"vbench-{each.session.experiment}{lane}", "dependency": "singleton"}
            yield [each], parameters(each) | singly


def parameters(each: Submission) -> dict[str, Any]:
    """What the session asks for, in submitit's words. Pure.

    A step no longer takes the cores of its job by itself (SLURM 22.05 and later): srun is told. The warning's signal is
    left to submitit: USR2, to the step and so to all of its processes. The job must be one that may be requeued,
    whatever the site's default.
    """
    asked = each.resources
    kind = f":{asked.gpu_type}" if asked.gpu_type else ""
    where = {
        "partition": asked.partition,
        "account": asked.account,
        "qos": asked.qos,
        "constraint": asked.constraint,
        "gres": f"gpu{kind}:{asked.gpus}" if asked.gpus else None,
    }
    return {key: value for key, value in where.items() if value is not None} | {
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": asked.cpus,
        "mem": f"{asked.memory_gib}G",
        "time": asked.minutes,
        "signal_delay_s": min(WARNING_S, asked.minutes * 30),
        "setup": strict(each.session.launcher.setup),
        "srun_args": [f"--cpus-per-task={asked.cpus}", "--open-mode=append"],
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True} | {key: _value(text) for key, text in asked.extra},
    }


def _submitted(members: Sequence[Submission], asked: Mapping[str, Any]) -> list[str]:
    executor = submitit.SlurmExecutor(folder=members[0].path.parents[1] / FOLDER, python=PYTHON)
    comment = f"vbench {uuid.uuid4()}"
    ids = [queue.foretold(comment, place) for place in range(len(members))]
    for each, job_id in zip(members, ids, strict=True):
        each.note(job_id)
    executor.update_parameters(**asked, comment=comment)
    deadline = time.monotonic() + queue.AWAY_S
    while True:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit repeats there what it raises
                jobs = executor.map_array(job, [str(each.path) for each in members])
        except FailedJobError as error:
            if not queue.away(str(error)) or time.monotonic() > deadline:
                raise Refused(_refusal(members[0], str(error))) from error
        else:
            return [str(each.job_id) for each in jobs]
        time.sleep(queue.RETRY_S)
        queue.cancel(ids)  # it may have arrived though the answer to it did not


def _alike(batch: Sequence[Submission]) -> Iterator[list[Submission]]:
    def wants(each: Submission) -> str:
        return repr((each.path.parents[1], each.resources))

    for _, members in groupby(sorted(batch, key=wants), key=wants):
        alike = list(members)
        yield from (alike[start : start + ARRAY] for start in range(0, len(alike), ARRAY))


def _name(members: Sequence[Submission]) -> str:
    session = members[0].session
    return session.folder if len(members) == 1 else f"vbench-{session.experiment}"


def _value(text: str) -> str | bool:
    return True if text.lower() == "true" else text  # --exclusive, not --exclusive=True


def _refusal(each: Submission, said: str) -> str:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in said.splitlines() if line.strip()]
    asked = each.resources
    gpus = f"{asked.gpus}x{asked.gpu_type or 'gpu'}, " if asked.gpus else ""
    return (
        f"{each.session.folder}: SLURM refuses it: {'; '.join(lines) or 'sbatch said nothing'} (asked for {gpus}"
        f"{asked.cpus} cores, {asked.memory_gib} GiB, {asked.minutes} min, partition {asked.partition or 'default'}); "
        "see hardware.slurm"
    )
