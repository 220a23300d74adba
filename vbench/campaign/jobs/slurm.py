"""Sessions as SLURM batch jobs, submitted by submitit: one array for all sessions with the same resources.

submitit pickles the name of a function and the path of a session file. Its own account of how a job ended is not used:
its result file says "error" for a job that was preempted and runs again, and its polling hangs without slurmdbd.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from vbench.campaign.jobs import JobEnd, JobPhase, JobState, Submission, queue
from vbench.campaign.jobs.batch import FOLDER, job, log_path
from vbench.campaign.jobs.printing import wrap_setup
from vbench.schema.errors import Refused

WARNING_S = 90  # before the time limit: enough for servers to end and their GPU memory to be freed
ARRAY = 1000  # sessions in one array, if the site does not allow fewer
# Signals are ignored until the job handles them: a warning during its imports would kill it.
PYTHON = f"""sh -c 'trap "" TERM USR2; exec "$0" "$@"' {shlex.quote(sys.executable)}"""
CANCELLED = JobState(JobPhase.ended, JobEnd.cancelled, "it left the queue before it began")
NO_CONTROLLER = re.compile(r"establish a configuration source|contact slurm controller", re.IGNORECASE)
LEFT_OUT = ("false", "null")  # submitit 1.5.4 would write --exclusive=False
PROGRAMS = ("sbatch", "srun", "squeue", "scancel")
POLL_S = 3.0  # between two queries of the queue: a controller has other users


class Slurm:
    """`hydra/launcher=slurm`. A job's id is SLURM's: 123, or 123_4 in an array."""

    name = "slurm"
    on_this_host = False
    in_driver = False

    def __init__(self) -> None:
        """Raises Refused on a host without SLURM's commands."""
        if absent := [program for program in PROGRAMS if not shutil.which(program)]:
            raise Refused(
                f"hydra/launcher=slurm: {', '.join(absent)}: not found on this host; run vbench where SLURM's commands "
                "are, as on a login node (module load slurm?)"
            )
        self._asked_at = -POLL_S
        self._known: dict[str, JobState] = {}

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Submits the sessions; returns their job ids, in order. Waits for a controller that does not answer.

        Raises Refused, with sbatch's message, if SLURM refuses one of them; it then cancels the others.
        """
        ids: dict[Path, str] = {}
        for each in batch:
            _refuse_pattern(each.path.parents[1])
        try:
            for members, asked in submissions(batch, min(ARRAY, queue.read_array_limit()) if len(batch) > 1 else 1):
                paths = [each.path for each in members]
                ids |= dict(zip(paths, _submit(members, asked), strict=True))
        except BaseException:
            self.cancel(list(ids.values()))
            raise
        return [ids[each.path] for each in batch]

    def states(self, ids: Sequence[str]) -> dict[str, JobState]:
        over = {each for each, state in self._known.items() if state.phase is JobPhase.ended}  # for good
        live = {*self._known, *ids} - over
        if time.monotonic() - self._asked_at >= POLL_S or not self._known.keys() >= live:
            self._known |= {each: self._correct_vanished(each, state) for each, state in queue.states(live).items()}
            self._asked_at = time.monotonic()
        return {each: self._known[each] for each in ids}

    def cancel(self, ids: Sequence[str]) -> None:
        queue.cancel(ids)

    def describe_stop(self, job_id: str) -> str:
        return f"scancel {job_id}" if job_id[:1].isdigit() else ""  # else it is being submitted

    def log(self, job_id: str, folder: Path) -> Path:
        return log_path(job_id, folder)

    def _correct_vanished(self, job_id: str, state: JobState) -> JobState:
        """The state, or CANCELLED: a cancelled job of an array that was still waiting vanishes from SLURM's records."""
        waited = job_id in self._known and self._known[job_id].phase is JobPhase.queued
        return CANCELLED if state is queue.GONE and waited else state


def submissions(
    batch: Sequence[Submission], most: int = ARRAY
) -> Iterator[tuple[Sequence[Submission], dict[str, Any]]]:
    """The sessions of each sbatch, `most` at most, and the parameters that submitit passes to it for all of them. Pure.

    A single array enforces `launcher.max_parallel` by its own limit. Several arrays cannot: then each session is
    submitted singly under one of `max_parallel` job names, and one job of each name runs at a time (singleton).
    """
    groups = list(_group_by_resources(batch, max(most, 1)))
    bound = (batch[0].session.launcher.max_parallel if batch else None) or len(batch)
    if len(groups) == 1 or len(batch) <= bound:
        for members in groups:
            parallel = {"job_name": _name(members), "array_parallelism": bound}
            yield members, parameters(members[0]) | parallel
    else:
        for place, each in enumerate(batch):
            suffix = f"-{place % bound}" if place % bound else ""
            singly = {"job_name": f"vbench-{each.session.experiment}{suffix}", "dependency": "singleton"}
            yield [each], parameters(each) | singly


def parameters(each: Submission) -> dict[str, Any]:
    """The parameters that submitit gets for one session's job. Pure.

    From SLURM 22.05 on a step does not inherit its job's cores, so srun gets --cpus-per-task. submitit chooses the
    signal of the time limit's warning: USR2, to all processes of the step. The job may be requeued, regardless of the
    site's default.
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
        "setup": wrap_setup(each.session.launcher.setup),
        "srun_args": [f"--cpus-per-task={asked.cpus}", "--open-mode=append"],
        "stderr_to_stdout": True,
        "additional_parameters": {
            key: _option_value(text)
            for key, text in ({"requeue": "true"} | dict(asked.extra)).items()
            if text.lower() not in LEFT_OUT
        },
    }


def _submit(members: Sequence[Submission], asked: Mapping[str, Any]) -> list[str]:
    executor = submitit.SlurmExecutor(folder=members[0].path.parents[1] / FOLDER, python=PYTHON)
    comment = f"vbench {uuid.uuid4()}"
    ids = [queue.provisional_id(comment, place) for place in range(len(members))]
    for each, job_id in zip(members, ids, strict=True):
        each.note(job_id)
    executor.update_parameters(**asked, comment=comment)
    deadline = time.monotonic() + queue.AWAY_S
    while True:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what it also raises
                jobs = executor.map_array(job, [str(each.path) for each in members])
        except FailedJobError as error:
            if not queue.is_controller_away(str(error)) or time.monotonic() > deadline:
                raise Refused(_explain_refusal(members[0], str(error))) from error
        else:
            return [str(each.job_id) for each in jobs]
        time.sleep(queue.RETRY_S)
        queue.cancel(ids)  # the submission may have succeeded although its answer was lost


def _refuse_pattern(folder: Path) -> None:
    """Raises Refused if SLURM would write logs elsewhere: it replaces %j, %a, … in their paths, and backslashes."""
    if strange := sorted(set(str(folder)) & set("%\\\n")):
        raise Refused(
            f"{folder}: SLURM reads {' and '.join(map(repr, strange))} in a path as a pattern, so logs of jobs would "
            "be lost; start vbench in a folder, or give an experiment=, without it"
        )


def _group_by_resources(batch: Sequence[Submission], most: int) -> Iterator[list[Submission]]:
    def group_key(each: Submission) -> str:
        return repr((each.path.parents[1], each.resources))

    for _, members in groupby(sorted(batch, key=group_key), key=group_key):
        alike = list(members)
        yield from (alike[start : start + most] for start in range(0, len(alike), most))


def _name(members: Sequence[Submission]) -> str:
    session = members[0].session
    return session.folder if len(members) == 1 else f"vbench-{session.experiment}"


def _option_value(text: str) -> str | bool:
    return True if text.lower() == "true" else text  # --exclusive, not --exclusive=True


def _explain_refusal(each: Submission, message: str) -> str:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in message.splitlines() if line.strip()]
    said = "; ".join(lines) or "sbatch said nothing"
    if NO_CONTROLLER.search(message):
        return f"{each.session.folder}: sbatch finds no controller: {said}; submit from a login node, or set SLURM_CONF"
    advice = "give fewer points in one command, as a user may queue no more jobs here" if "MaxSubmit" in message else ""
    asked = f"(asked for {each.resources.sentence}); {advice or 'see hardware.slurm'}"
    return f"{each.session.folder}: SLURM refuses it: {said} {asked}"
