"""How many sessions may be submitted in addition to the jobs already in flight. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits on the jobs of a campaign."""

    max_parallel: int | None  # jobs of one experiment, counting those of other commands
    host_gpus: int | None  # GPUs of this host if the sessions run here; None: a scheduler queues the jobs
    exclusive: bool = False  # a session has this host for itself


def count_admitted(waiting: Sequence[int], in_flight: Sequence[int], others: int, limits: Limits) -> int:
    """How many sessions from the front of the queue may be submitted now.

    `waiting` and `in_flight` are the GPUs of each session; `others` counts the jobs of other commands.

    With a scheduler and no job in flight, all sessions are submitted at once: `max_parallel` is part of the batch,
    and the scheduler enforces it whether or not a driver is running.
    """
    jobs = len(in_flight) + others
    if limits.host_gpus is None and not (limits.max_parallel and jobs):
        return len(waiting)
    if limits.max_parallel:
        return min(len(waiting), max(limits.max_parallel - jobs, 0))
    return _count_to_keep_host_busy(waiting, in_flight, limits)


def _count_to_keep_host_busy(waiting: Sequence[int], in_flight: Sequence[int], limits: Limits) -> int:
    """How many sessions to submit so that the waiting jobs ask for as many GPUs as this host has.

    Then no GPU idles while a job starts, and other campaigns get GPUs in between. If servers run on the CPU, no job
    waits while another runs: its start would take cores from the measurement.
    """
    gpus = limits.host_gpus or 0
    most = 2 * gpus if gpus and not limits.exclusive else 1
    asked = sum(each or most for each in in_flight)
    for place, each in enumerate(waiting):
        if asked >= most:
            return place
        asked += each or most
    return len(waiting)
