"""Submits the sessions of a campaign within the limits on jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from vbench.campaign import claims
from vbench.campaign.admission import Limits, count_admitted
from vbench.campaign.jobs import Jobs
from vbench.campaign.task import Task, TaskState, in_state, to_submit
from vbench.campaign.watching import POLL_S, Watcher
from vbench.host import gpus
from vbench.schema import Launcher
from vbench.session import infeasible_reason


class Submitter:
    """Submits the missing runs of these tasks to one backend."""

    def __init__(self, tasks: Sequence[Task], jobs: Jobs, launcher: Launcher, watcher: Watcher) -> None:
        self._tasks = tasks
        self._jobs = jobs
        self._launcher = launcher
        self._watcher = watcher
        self._others = 0  # jobs that other commands have in the same experiments
        self._counted_at = 0.0

    def submit_admitted(self) -> None:
        """Submits as many sessions as the jobs in flight, including other commands' jobs, leave room for."""
        if time.monotonic() - self._counted_at > POLL_S:
            self._count_others()
        if self._select_admitted():
            self._submit(admit_all=False)

    def submit_for_detaching(self) -> None:
        """Submits before the command leaves: on this host everything, because nothing else will submit it later."""
        self._submit(admit_all=self._jobs.on_this_host)

    def describe_waiting(self) -> str:
        """A line on how many sessions have to wait for others; empty if the first of them can start."""
        self._count_others()
        left = to_submit(self._tasks)
        if not left or self._select_admitted():
            return ""
        sessions = "1 session waits" if len(left) == 1 else f"{len(left)} sessions wait"
        return f"{sessions} for a free slot: {len(self._find_in_flight()) + self._others} jobs are in flight"

    def _submit(self, *, admit_all: bool) -> None:
        # An inline session ends before its submission returns. Only max_parallel justifies so long a lock.
        alone = self._launcher.max_parallel or not self._jobs.in_driver
        with claims.hold_experiments(self._tasks) if alone else nullcontext():
            for task in claims.follow_living_jobs(to_submit(self._tasks), self._jobs):
                self._watcher.show_attached(task)
            self._count_others()
            self._give_to_jobs(to_submit(self._tasks) if admit_all else self._select_admitted())

    def _give_to_jobs(self, tasks: Sequence[Task]) -> None:
        feasible = [task for task in tasks if not self._record_if_infeasible(task)]
        prepared = [
            (task, task.prepare(self._jobs.name, partial(self._watcher.show_events, task))) for task in feasible
        ]
        ready = [(task, submission) for task, submission in prepared if submission]
        if not ready:
            return
        ids = self._jobs.submit([submission for _, submission in ready])
        for (task, _), job_id in zip(ready, ids, strict=True):
            task.note_submission(self._jobs, job_id)
            self._watcher.show_queued(task)
        if not self._jobs.on_this_host:
            self._watcher.show_requests([submission.resources for _, submission in ready])

    def _record_if_infeasible(self, task: Task) -> bool:
        """Whether the session cannot work, by its plan or by other sessions' records; if so, records it as failed."""
        failure = infeasible_reason(task.session, task.folder)
        if failure:
            self._watcher.record_infeasible(task, failure)
        return failure is not None

    def _select_admitted(self) -> list[Task]:
        left = to_submit(self._tasks)
        limits = Limits(
            max_parallel=self._launcher.max_parallel,
            host_gpus=len(gpus.find_gpus()) if self._jobs.on_this_host else None,
            exclusive=self._launcher.exclusive,
        )
        waiting, in_flight = ([task.resources.gpus for task in some] for some in (left, self._find_in_flight()))
        return left[: count_admitted(waiting, in_flight, self._others, limits)]

    def _find_in_flight(self) -> list[Task]:
        return in_state(self._tasks, TaskState.in_flight)

    def _count_others(self) -> None:
        self._counted_at = time.monotonic()
        if self._launcher.max_parallel and to_submit(self._tasks):
            self._others = claims.jobs_of_other_commands(self._tasks, self._jobs)
