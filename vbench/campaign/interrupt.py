"""Ctrl-C: the command ends and its jobs go on, unless the user confirms that they are to be cancelled."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vbench.campaign.task import Task, TaskState, in_state, to_submit
from vbench.campaign.watching import POLL_S, Watcher
from vbench.watch.markup import fill_markup
from vbench.watch.screen import Screen

SECOND_CTRL_C_S = 3.0


def confirm_cancelling(tasks: Sequence[Task], screen: Screen, watcher: Watcher) -> bool:
    """Waits for a second Ctrl-C; cancels the jobs and waits for their end if the user then says yes."""
    jobs = len(in_state(tasks, TaskState.in_flight))
    try:
        goes_on = "1 job goes on" if jobs == 1 else f"{jobs} jobs go on"
        asked = f"Ctrl-C again within {SECOND_CTRL_C_S:.0f} s to cancel instead"
        screen.print(f"detaching: {goes_on} in the background; {asked}")
        time.sleep(SECOND_CTRL_C_S)
    except KeyboardInterrupt:
        if _ask_confirmation(jobs):
            screen.leave_out_beginnings()
            _cancel(tasks, watcher)
            return True
    return False


def print_remaining_jobs(tasks: Sequence[Task], screen: Screen) -> None:
    """Prints how to check on jobs that go on by themselves, how to stop them, and how to collect what they measure."""
    jobs = [task.job for task in in_state(tasks, TaskState.in_flight) if task.job]
    for job in jobs:
        screen.print(fill_markup("{}: {}/events.jsonl", job.file.name, job.folder))
    if stop := [command for job in jobs if (command := job.backend.describe_stop(job.file.id))]:
        screen.print(fill_markup("to stop what goes on:  {}", "; ".join(stop)))
    left = len(to_submit(tasks))
    if left:
        screen.print("1 session is not submitted" if left == 1 else f"{left} sessions are not submitted")
    screen.print("run the same command again to collect what is measured and submit what is missing")


def _ask_confirmation(jobs: int) -> bool:
    try:
        answer = input(f"cancel {'1 job' if jobs == 1 else f'{jobs} jobs'}? what they have measured is kept [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower().startswith("y")


def _cancel(tasks: Sequence[Task], watcher: Watcher) -> None:
    for task in to_submit(tasks):
        task.finish()
    while in_flight := in_state(tasks, TaskState.in_flight):
        for task in in_flight:
            if task.job:
                task.job.backend.cancel([task.job.file.id])
        time.sleep(POLL_S)
        watcher.collect()
