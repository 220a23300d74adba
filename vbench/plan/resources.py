"""What a session requests from a scheduler: GPUs, cores, memory and time. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from vbench.plan.sessions import Run, Session
from vbench.schema import Lengths, RunConfig, Workload
from vbench.schema.errors import Refused
from vbench.schema.record import Ints
from vbench.workload.prompts import lengths
from vbench.workload.search import MOST, MOST_PROBES
from vbench.workload.sharing import send_times, waits_s

# Estimates for time limits: slower than any server we know, not a prediction.
TOKEN_S = 0.1  # from one token of a reply to the next
PROMPT_TOKENS_PER_S = 2_000
STREAMS = 128  # served at once where engine.max_num_seqs does not say
POINT_S = 10.0  # checks and files of one run
MARGIN = 1.5
SLOW = 4.0  # a limit allows for a server that is this much slower than a usual one
SILENCE_S = 3600.0  # beyond what a load may take: a server that has not answered by then will not
STEP_MIN = 15  # limits are rounded up to it, so that sessions with similar loads request the same
SPAN = re.compile(r"((?P<days>\d+)-)?(?P<parts>\d+(:\d+){0,2})")
PROBE_DURATIONS = 6  # a short probe, in times of a request's duration
SEARCHED_PLACES = 16  # requests at once while a search decides


@dataclass(frozen=True)
class Resources:
    """What one session's job requests: resources of one node, minutes, and the scheduler's own options."""

    gpus: int
    gpu_type: str | None  # the scheduler's name for the type
    cpus: int
    memory_gib: int
    minutes: int  # counted from when it holds its GPUs
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    extra: tuple[tuple[str, str], ...] = ()  # further parameters of sbatch

    @property
    def sentence(self) -> str:
        """What is requested, for people."""
        gpus = f"{self.gpus}x{self.gpu_type or 'gpu'}, " if self.gpus else ""
        days, minutes = divmod(self.minutes, 24 * 60)
        limit = f"{f'{days}-' if days else ''}{minutes // 60:02}:{minutes % 60:02}:00"
        place = f"partition {self.partition or 'default'}"
        more = "".join(f", {key} {text}" for key, text in self.extra)
        return f"{gpus}{self.cpus} cores, {self.memory_gib} GiB, {self.minutes} min ({limit}), {place}{more}"


def resources(session: Session) -> Resources:
    """What the session requests; the time limit follows from its plan, unless `hardware.slurm.time_min` is set.

    A session with an external server requests no GPUs.
    """
    hardware, asked = session.hardware, session.hardware.slurm
    gpus = 0 if session.is_external else hardware.gpus
    limit_s = session.engine.start_timeout_s + MARGIN * expected_s(session)
    return Resources(
        gpus=gpus,
        gpu_type=asked.gres_type if gpus else None,
        cpus=asked.cpus_per_gpu * max(gpus, 1),
        memory_gib=asked.mem_gib_per_gpu * max(gpus, 1),
        minutes=parse_minutes(asked.time_min) or STEP_MIN * math.ceil(limit_s / 60 / STEP_MIN),
        partition=asked.partition,
        account=asked.account,
        qos=asked.qos,
        constraint=asked.constraint,
        extra=tuple(sorted(asked.extra.items())),
    )


def parse_minutes(limit: int | str | None) -> int | None:
    """A time limit in sbatch's forms to whole minutes, rounded up; None for None.

    The forms: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes` and
    `days-hours:minutes:seconds` (sbatch(1), SLURM 22.05). Raises Refused if it is none of them, or no time.
    """
    if limit is None:
        return None
    match = SPAN.fullmatch(str(limit).strip())
    if match is None or not any(int(digits) for digits in re.findall(r"\d+", match[0])):
        raise Refused(
            f"hardware.slurm.time_min={limit}: must be minutes above 0, or a time as sbatch takes it: 1:30:00, 2-12"
        )
    parts = [int(part) for part in match["parts"].split(":")]
    units = [3600, 60, 1] if match["days"] or len(parts) == 3 else [60, 1]  # days are followed by hours
    seconds = int(match["days"] or 0) * 86_400 + sum(part * unit for part, unit in zip(parts, units, strict=False))
    return math.ceil(seconds / 60)


def expected_s(session: Session) -> float:
    """Seconds that all points of the session may take on a slow server, without its start."""
    return sum(point_s(run) for run in session.runs)


def point_s(run: Run) -> float:
    """Seconds that a point may take on a slow server: its arrivals, its prompts and its replies."""
    load = run.config.workload
    if load.start_only:
        return POINT_S
    replies = _lengths(load)[:, 1]
    last_s, served_s = float(send_times(load).max()) + waits_s(load), _served_s(run.config)
    if load.sending_s is not None:
        last_s, served_s = min(last_s, load.sending_s), min(served_s, load.sending_s + float(replies.max()) * TOKEN_S)
    once = POINT_S + last_s + served_s
    if load.search:
        reply_s = float(replies.mean()) * TOKEN_S
        return MOST_PROBES * (POINT_S + PROBE_DURATIONS * reply_s) + MOST / SEARCHED_PLACES * reply_s
    return once


def load_timeout_s(run: Run) -> float:
    """Seconds from a load's start to when what is still open is given up; it follows from the load's own schedule."""
    return SILENCE_S + MARGIN * point_s(run)


def _served_s(config: RunConfig) -> float:
    load, engine = config.workload, config.engine
    prompts, replies = _lengths(load).T
    engines = config.parallelism.engine_count
    streams = min(
        load.max_concurrency or math.inf, load.sessions or math.inf, (engine.max_num_seqs or STREAMS) * engines
    )
    longest = max(float(replies.max()), float(replies.sum()) / streams)
    return longest * TOKEN_S + float(prompts.sum()) / (PROMPT_TOKENS_PER_S * engines)


def _lengths(load: Workload) -> Ints:
    # A ShareGPT file's lengths are known only once it is tokenized: the built-in pairs stand in for them.
    return lengths(replace(load, lengths=Lengths.sharegpt) if load.lengths is Lengths.sharegpt_file else load)
