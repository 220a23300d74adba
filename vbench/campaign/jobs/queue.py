"""SLURM's queue: the states of jobs, and the commands that cancel or requeue them.

squeue lists an ended job for a while (MinJobAge), afterwards accounting does. Without slurmdbd a completion file may
list it, if the site keeps one; it does not distinguish the jobs of an array. If the controller does not answer, the
jobs go on and their states are unknown.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vbench.campaign.jobs import JobEnd, JobPhase, JobState

QUEUED = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
RUNNING = {"RUNNING", "CONFIGURING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
ENDED = {
    "COMPLETED": JobEnd.completed,
    "FAILED": JobEnd.failed,
    "OUT_OF_MEMORY": JobEnd.out_of_memory,
    "BOOT_FAIL": JobEnd.node_failed,
    "NODE_FAIL": JobEnd.node_failed,
    "CANCELLED": JobEnd.cancelled,
    "REVOKED": JobEnd.cancelled,
    "TIMEOUT": JobEnd.time_limit,
    "DEADLINE": JobEnd.time_limit,
    "PREEMPTED": JobEnd.preempted,
}
GONE = JobState(JobPhase.ended, JobEnd.lost, "SLURM no longer knows it")
AWAY = JobState(JobPhase.unknown, detail="SLURM's controller does not answer")
ANSWER_S = 60.0  # for one command's answer; SLURM's own commands give up on a controller earlier
AWAY_S = 300.0  # how long to wait for a controller before giving up a submission or cancellation
RETRY_S = 5.0
REQUEUE_S = 60.0  # how long to try to requeue a job that is being ended
AT_END_RETRY_S = 1.0  # between two attempts then: the job may be killed within seconds
NEAR_S = 150.0  # before a time limit: its warning comes 90 s before, or up to a minute earlier
COMMENT = "comment:"  # prefix of our own id for a job whose SLURM id is not known yet
AT_ONCE = 500  # ids in one query
DEFAULT_ARRAY = 1001  # of MaxArraySize, one above the greatest index
NOT_STARTED = 127  # the exit code that a shell gives a program that it does not find


def states(ids: Iterable[str]) -> dict[str, JobState]:
    """The state of each id (`A_T` for a job of an array). A job that SLURM no longer knows has ended, lost."""
    wanted = set(ids)
    own = _resolve_ids(wanted)
    if own is None:
        return dict.fromkeys(wanted, AWAY)
    found = _states(sorted(own.values()))
    return {each: found[own[each]] if each in own else GONE for each in wanted}


def _states(ids: Sequence[str]) -> dict[str, JobState]:
    found = dict.fromkeys(ids, AWAY)
    for some in _chunks(ids):
        listed = _read_queue(some)
        if listed is None:
            break
        gone = [each for each in some if each not in listed]
        found |= {each: listed.get(each, GONE) for each in some} | (read_accounting(gone) if gone else {})
    return found


@dataclass(frozen=True)
class OwnJob:
    """The job that asks, as squeue shows it; without a state if squeue does not answer."""

    state: str
    elapsed_s: float = 0.0
    limit_s: float = math.inf

    @property
    def is_ending(self) -> bool:
        """Whether the scheduler has decided to end it, or to start it again.

        Not so of SIGNALING: a preempted job gets SIGCONT and then SIGTERM, and is SIGNALING until its node has
        confirmed the first (slurmctld's agent.c), which on a busy node may come after the job has ended its servers.
        """
        return self.state == "COMPLETING" or self.state in ENDED or self.state in QUEUED

    @property
    def is_near_limit(self) -> bool:
        return self.elapsed_s > self.limit_s - NEAR_S

    @classmethod
    def find(cls, job_id: str) -> OwnJob:
        command = ["squeue", "--noheader", "--format=%T|%M|%l", f"--jobs={job_id}"]
        answer = ask_patiently(command, REQUEUE_S, AT_END_RETRY_S)
        state, elapsed, limit = (*answer.stdout.strip().split("|"), "", "")[:3]
        return cls(state, parse_span(elapsed), parse_span(limit)) if state else cls("")


def requeue(job_id: str) -> str:
    """Asks SLURM to end this job and to queue it again; why it does not, or an empty string.

    `incomplete` lets the controller decide, so that a job which is cancelled in the same moment stays so.
    """
    answer = ask_patiently(["scontrol", "requeue", "incomplete", job_id], REQUEUE_S, AT_END_RETRY_S)
    done = answer.returncode == 0 or "pending execution" in answer.stderr  # queued again by an attempt without answer
    return "" if done else " ".join(answer.stderr.split()) or f"scontrol ended with {answer.returncode}"


def parse_span(span: str) -> float:
    """The seconds of a span in SLURM's form, `[days-][[hours:]minutes:]seconds`; infinite if unlimited. Pure."""
    days, _, rest = span.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdigit() for part in parts):
        return math.inf
    total = 0.0
    for part in parts:
        total = total * 60 + int(part)
    return total + 86_400 * int(days or 0)


def read_accounting(ids: Sequence[str]) -> dict[str, JobState]:
    """The states of jobs that have left the queue, from accounting or else from the completion file."""
    form = ["--noheader", "--parsable2", "--format=JobID,State", f"--jobs={_join_array_ids(ids)}"]
    for source in ("--allocations", "--completion"):
        answer = _answer(["sacct", source, *form])
        found = {
            job: state
            for job, state in parse_listing(answer.stdout).items()
            if job in ids and state.phase is JobPhase.ended
        }
        if answer.returncode == 0 and found:
            return found
    return {}


def cancel(ids: Sequence[str]) -> None:
    """Asks SLURM to cancel these jobs; waits up to AWAY_S for a controller."""
    for some in _chunks(sorted((_resolve_ids(ids, AWAY_S) or {}).values())):
        ask_patiently(["scancel", *some])


def read_array_limit() -> int:
    """How many jobs an array may have at this site; SLURM's default if it does not say. 0: it has no arrays."""
    told = re.search(r"^MaxArraySize\s*=\s*(\d+)", _answer(["scontrol", "show", "config"]).stdout, re.MULTILINE)
    return int(told[1]) if told else DEFAULT_ARRAY


def provisional_id(comment: str, place: int | str) -> str:
    """Our own id, before SLURM's is known, of the job with this comment at this index (from 0) of its array."""
    return f"{COMMENT}{comment}_{place}"


def parse_listing(listing: str) -> dict[str, JobState]:
    """States by id, from lines of `id|STATE|detail`; the last line of an id counts. Pure."""
    found: dict[str, JobState] = {}
    for line in filter(None, listing.splitlines()):
        jobs, state, *detail = line.split("|")
        parsed_state = _state(state.strip(), " ".join(filter(None, map(str.strip, detail))))
        found |= dict.fromkeys(_expand_array(jobs.strip()), parsed_state)
    return found


def ask_patiently(
    command: list[str], patience_s: float = AWAY_S, retry_s: float = RETRY_S
) -> subprocess.CompletedProcess[str]:
    """The command's answer; repeats it every `retry_s` while no controller answers, for `patience_s` at most."""
    deadline = time.monotonic() + patience_s
    while (answer := _answer(command)) and is_controller_away(answer.stderr) and time.monotonic() < deadline:
        time.sleep(retry_s)
    return answer


def is_controller_away(message: str) -> bool:
    """Whether this error means that no controller answered, so that the command may be repeated. Pure."""
    signs = ("contact slurm controller", "timed out", "onnection refused", "Zero Bytes", "ommunication", "temporarily")
    return any(sign in message for sign in signs)


def _resolve_ids(ids: Iterable[str], patience_s: float = 0) -> dict[str, str] | None:
    """SLURM's ids by the given ones, without our own ids that the queue does not know; None: no answer."""
    own = {each: each for each in ids}
    unnamed = {each for each in own if each.startswith(COMMENT)}
    if not unnamed:
        return own
    command = ["squeue", "--noheader", "--me", "--array", "--states=all", "--format=%i|%k"]
    answer = ask_patiently(command, patience_s)
    if answer.returncode:
        return None
    listed = (line.partition("|") for line in answer.stdout.splitlines())
    known = {provisional_id(comment, job.partition("_")[2] or 0): job for job, _, comment in listed}
    return {each: known.get(each, each) for each in own if each in known or each not in unnamed}


def _read_queue(ids: Sequence[str]) -> dict[str, JobState] | None:
    """The states of the jobs that squeue knows; None if it does not answer."""
    form = "--format=%i|%T|%r|%N"
    answer = _answer(
        ["squeue", "--noheader", "--array", "--all", "--states=all", form, f"--jobs={_join_array_ids(ids)}"]
    )
    if answer.returncode:
        return {} if "Invalid job id" in answer.stderr else None
    return parse_listing(answer.stdout)


def _join_array_ids(ids: Iterable[str]) -> str:
    """The ids of whole arrays: sacct finds array jobs that never started only by these."""
    return ",".join(sorted({job.partition("_")[0] for job in ids}))


def _expand_array(jobs: str) -> Iterator[str]:
    """Expands one of sacct's ids: `A_[0-3,6-8:2%2]` stands for the jobs of an array that never started."""
    array, some, tasks = jobs.partition("_[")
    if not some:
        yield jobs
    for span in tasks.rstrip("]").partition("%")[0].split(","):
        if whole := re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", span):  # skips the end of a truncated list
            first, last, step = whole.groups()
            yield from (f"{array}_{task}" for task in range(int(first), int(last or first) + 1, int(step or 1)))


def _state(text: str, detail: str) -> JobState:
    word = next(iter(text.split()), "").rstrip("+")  # "CANCELLED by 1000"; sacct marks a truncated word with +
    if word in QUEUED:
        return JobState(JobPhase.queued, detail=detail.removeprefix("None"))
    if word in RUNNING:
        return JobState(JobPhase.running, detail=detail.removeprefix("None "))
    if word in ENDED:
        return JobState(JobPhase.ended, ENDED[word], word)
    return JobState(JobPhase.unknown, detail=f"SLURM says {text!r}")


def _answer(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "timed out")
    except OSError as error:  # sites without accounting may have no sacct; or this user may start no further process
        return subprocess.CompletedProcess(command, NOT_STARTED, "", f"{command[0]}: {error.strerror}")


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
