"""Follows the jobs in flight: shows what their sessions report, files records, and collects jobs that have ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape

from vbench import tracking
from vbench.campaign import claims
from vbench.campaign.jobs import JobEnd, JobPhase, Jobs, JobState
from vbench.campaign.task import Task, TaskState, in_state, states
from vbench.plan.resources import Resources
from vbench.schema.record import RECORD, Failure
from vbench.tracking.delivery import Delivery
from vbench.watch import Event
from vbench.watch.board import ENDED
from vbench.watch.markup import fill_markup
from vbench.watch.screen import Screen

POLL_S = 1.0  # between two queries of the backend, which reveal jobs that ended without an event


class Watcher:
    """Follows the driver's tasks. `retries` is how often runs that a job left unmeasured are tried again."""

    def __init__(self, tasks: Sequence[Task], jobs: Jobs, screen: Screen, delivery: Delivery, retries: int) -> None:
        self._tasks = tasks
        self._jobs = jobs
        self._screen = screen
        self._delivery = delivery
        self._retries = retries
        self._polled_at = 0.0

    def look(self) -> None:
        """Reads new events; asks the backends when a session has ended, or every POLL_S."""
        ended = [self.show_events(task) for task in in_state(self._tasks, TaskState.in_flight)]
        if any(ended) or time.monotonic() - self._polled_at > POLL_S:
            self._polled_at = time.monotonic()
            self.collect()

    def show_events(self, task: Task) -> bool:
        """Shows the task's new events and files the records they name; returns whether the last event is `ended`."""
        ended = False
        for event in task.events.read():
            self._pass_on(task, event)
            ended = event.kind == "ended"
        return ended

    def collect(self) -> None:
        """Collects the jobs that have ended: files their records, and retries or fails the runs without one."""
        in_flight = in_state(self._tasks, TaskState.in_flight)
        for task, state in zip(in_flight, states([task.job for task in in_flight if task.job]), strict=True):
            if state.phase is JobPhase.ended:
                self._collect(task, state)
            elif state.phase is JobPhase.queued and task.job:
                why = f"{task.job.file.name}: {state.detail}" if state.detail else task.job.file.name
                self._screen.progress_of(task.folder).queue(why, time.time())

    def show_attached(self, task: Task) -> None:
        """Shows that the task follows a job of an earlier or another command."""
        self._screen.progress_of(task.folder).queue("", time.time())
        if task.job:
            self._screen.print(fill_markup("[bold]{}[/]: attached to {}", task.folder.name, task.job.file.name))

    def show_queued(self, task: Task) -> None:
        """Shows that a job has the task, unless its session has already reported more."""
        self._screen.progress_of(task.folder).queue("", time.time())

    def show_requests(self, resources: Sequence[Resources]) -> None:
        """Shows what the jobs just submitted ask of their scheduler, equal ones in one line."""
        for sentence, count in Counter(each.sentence for each in resources).items():
            self._screen.print(escape(f"{count} {'job asks' if count == 1 else 'jobs ask'} for {sentence}"))

    def record_infeasible(self, task: Task, failure: Failure) -> None:
        """Records that the session cannot work."""
        for event in task.record_infeasible(failure):
            self._pass_on(task, event)
        self._end(task)

    def file_records(self, task: Task) -> None:
        """Files all records of the task that are on disk."""
        for folder, _ in task.results.find_on_disk():
            self._delivery.add(folder)

    def _collect(self, task: Task, ended: JobState) -> None:
        self.show_events(task)
        if task.find_missing_runs():
            with claims.hold_experiments([task]):  # another command may have decided already
                if claims.follow_living_jobs([task], self._jobs):
                    self.show_attached(task)
                else:
                    self._retry_or_give_up(task, ended)
        else:
            self._end(task)
        self.file_records(task)

    def _retry_or_give_up(self, task: Task, ended: JobState) -> None:
        if ended.end is not JobEnd.cancelled and task.submissions <= self._retries:
            missing = task.find_missing_runs()
            self._screen.progress_of(task.folder).put_back(run.key for run in missing)
            count = len(missing)
            runs = "1 run" if count == 1 else f"{count} runs"
            why = task.why_missing(ended)
            told = "" if self._screen.has_shown(task.folder, why) else f": {why}"
            self._screen.print(fill_markup("[bold]{}[/]: retrying {}{}", task.folder.name, runs, told))
            task.retry()
        else:
            for event in task.record_unmeasured(ended):
                self._pass_on(task, event)
            self._end(task)

    def _end(self, task: Task) -> None:
        self._screen.progress_of(task.folder).state = ENDED
        task.finish()

    def _pass_on(self, task: Task, event: Event) -> None:
        self._screen.show_event(task.folder, event)
        recorded = event.kind == "recorded" and (task.folder / event.facts["folder"] / RECORD).exists()
        if recorded and tracking.database():  # if the store is a server, jobs file their own records
            self._delivery.add(task.folder / event.facts["folder"])
