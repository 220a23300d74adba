"""The story of a campaign: check all of it, plan sessions, skip what is known, attach to what lives, submit what is
missing, watch, take up again what failed in passing, file, sum up.

Killed at any moment, the same command goes on: what was measured is on disk, and what lives is known by `job.json`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import takewhile
from pathlib import Path

from vbench import tracking
from vbench.campaign.jobfile import JobFile
from vbench.campaign.jobs import JobEnd, JobPhase, Jobs, State
from vbench.campaign.task import Task, beside, states, submitting
from vbench.engine import attached, weights
from vbench.engine.environment import engine_version
from vbench.host import gpus, leases
from vbench.plan import ladders
from vbench.plan.reusable import reusable
from vbench.plan.rules import checked
from vbench.plan.sessions import Session, plan
from vbench.schema import Launcher, RunConfig
from vbench.schema.errors import Refused
from vbench.schema.record import RECORD, Record
from vbench.session.story import infeasible_reason
from vbench.tracking.delivery import Delivery
from vbench.watch.board import ENDED, MISSING, QUEUED
from vbench.watch.events import Event
from vbench.watch.outcome import advice, exit_code, summary
from vbench.watch.screen import Screen

ROOT = Path("multirun")
HEARD_EACH_S = 0.25  # how soon an event on disk is shown
ASKED_EACH_S = 1.0  # how soon a job that ended without a word is missed
SECOND_THOUGHTS_S = 3.0  # after Ctrl-C, for another one
DETACHED = 130  # the exit code of a command that Ctrl-C ended


def carry_out(configs: Iterable[RunConfig], jobs: Jobs) -> int:
    """Carries the campaign out on this backend. The exit code: 0 if all is VALID, else 1; 130 if it was detached.

    Raises Refused, before anything is started, where any of it cannot be run; KeyboardInterrupt where nothing lives on.
    """
    sessions = ladders.ascending(plan((run, engine_version(run.engine)) for run in map(checked, configs)))
    tasks = [Task(each, ROOT / each.experiment / each.folder, each.runs[0].config.rerun_mode) for each in sessions]
    campaign = Campaign(tasks, jobs, _launcher(sessions, jobs), Delivery(_filed(tasks)))
    try:
        with campaign.screen:
            campaign.take_stock()
            if campaign.launcher.detach:
                return campaign.submit_all()
            campaign.watch()
    except KeyboardInterrupt:
        if not campaign.in_flight:
            raise
        if campaign.leave():
            return DETACHED
    return campaign.conclude()


def _launcher(sessions: Sequence[Session], jobs: Jobs) -> Launcher:
    launcher = sessions[0].launcher
    if any(each.launcher != launcher for each in sessions):
        raise Refused("launcher: its values are the campaign's; give each of them once, not as a grid")
    if launcher.detach and launcher.max_parallel and jobs.on_this_host:
        raise Refused(
            f"launcher.max_parallel={launcher.max_parallel}: nobody stays to count jobs with launcher.detach=true; "
            "leave one of them out"
        )
    return launcher


class Campaign:
    """The tasks of a campaign, from what is known of them to their records."""

    def __init__(self, tasks: Sequence[Task], jobs: Jobs, launcher: Launcher, delivery: Delivery) -> None:
        self.tasks = tasks
        self.jobs = jobs
        self.launcher = launcher
        self.screen = Screen({task.folder: task.session for task in tasks})
        self._delivery = delivery
        self._beside = 0  # jobs that other commands have in the same experiments

    @property
    def in_flight(self) -> list[Task]:
        return [task for task in self.tasks if task.job]

    @property
    def _open(self) -> list[Task]:
        """What is still to be submitted, in that order."""
        return sorted((task for task in self.tasks if not task.job and not task.over), key=lambda task: task.order)

    def take_stock(self) -> None:
        """Finds what is known, what lives and what is missing. Raises Refused where that cannot be run."""
        for task in self.tasks:
            task.attach(self.jobs)
            done = [record for _, record in task.records() if record and reusable(record, task.rerun_pending)]
            self.screen.known(task.folder, done)
            for folder, record in task.found():
                if reusable(record, task.rerun_pending):
                    self._delivery.add(folder)
            if task.job:
                self.screen.lane(task.folder).state = QUEUED
                self.screen.say(f"[bold]{task.folder.name}[/]: attached to {task.job.name}")
            elif not task.missing():
                task.over = True
        for task in self._open:
            _check(task.session, self.jobs)
        self._look_beside()
        if self._open and not self._that_fit():
            wait = "1 session waits" if len(self._open) == 1 else f"{len(self._open)} sessions wait"
            self.screen.say(f"{wait} for room: {len(self.in_flight) + self._beside} jobs are in flight")

    def submit_all(self) -> int:
        """Submits what is missing, as far as there is room, and leaves. The exit code is 0: nothing has failed yet."""
        if self.jobs.on_this_host:
            self._submit(self._open)
        else:
            self._submit_what_fits()
        self._say_where()
        self._close()
        return 0

    def watch(self) -> None:
        """Keeps jobs in flight until nothing is missing, or is to stay so."""
        asked = 0.0
        while self._open or self.in_flight:
            self._submit_what_fits()
            ended = [self._hear(task) for task in self.in_flight]
            if any(ended) or time.monotonic() - asked > ASKED_EACH_S:
                asked = time.monotonic()
                self._ask()
            time.sleep(HEARD_EACH_S)

    def leave(self) -> bool:
        """What Ctrl-C does: the jobs go on, unless it comes twice and the answer is yes. False where they ended."""
        try:
            self.screen.say(f"detaching; Ctrl-C again within {SECOND_THOUGHTS_S:.0f} s to cancel the jobs instead")
            time.sleep(SECOND_THOUGHTS_S)
        except KeyboardInterrupt:
            if self._cancelled():
                return False
        self._say_where()
        return True  # what is not filed yet is on disk, and the next command's to file

    def conclude(self) -> int:
        """Sums up: the table, what failed and why, where everything is, what to do next."""
        for task in self.tasks:
            for folder, _ in task.found():
                self._delivery.add(folder)
            JobFile.forget(task.folder)
        records = [record for task in self.tasks for record in _all(task)]
        experiments = sorted({task.session.experiment for task in self.tasks})
        self.screen.say("", *summary(records))
        self._close()
        compare = f"compare: python -m vbench.analysis experiment={experiments[0]}"
        self.screen.say(f"records: {ROOT}/{', '.join(experiments)}    {compare}", *advice(records))
        return exit_code(records)

    def _submit_what_fits(self) -> None:
        """Where the jobs of an experiment are bounded, one command at a time counts them and adds to them."""
        if not self._that_fit():
            return
        with submitting(self.tasks) if self.launcher.max_parallel else nullcontext():
            self._look_beside()
            self._submit(self._that_fit())

    def _that_fit(self) -> list[Task]:
        """What may be submitted beside what is in flight.

        `launcher.max_parallel` is of the jobs of an experiment, whoever submitted them. Where none is in flight yet a
        scheduler gets all sessions at once: it keeps the bound itself, whether or not a driver watches.

        On this host as many GPUs' worth of sessions wait as are at work, so that no GPU waits for a job to start, and
        another campaign has its turn in between. None waits beside an engine on the CPU: its start would take cores.
        """
        bound, taken = self.launcher.max_parallel, len(self.in_flight) + self._beside
        if not self.jobs.on_this_host and not (bound and taken):
            return self._open
        if bound:
            return self._open[: max(bound - taken, 0)]
        host = len(gpus.present())
        most = 2 * host if host and not self.launcher.exclusive else 1
        in_flight = sum(task.resources.gpus or most for task in self.in_flight)

        def room(task: Task) -> bool:
            nonlocal in_flight
            fits, in_flight = in_flight < most, in_flight + (task.resources.gpus or most)
            return fits

        return list(takewhile(room, self._open))

    def _submit(self, tasks: Sequence[Task]) -> None:
        ready = [
            (task, submission)
            for task in tasks
            if not self._record_if_infeasible(task)
            and (submission := task.submission(self.jobs.name, partial(self._hear, task)))
        ]
        if not ready:
            return
        ids = self.jobs.submit([submission for _, submission in ready])
        for (task, _), job_id in zip(ready, ids, strict=True):
            task.submitted(self.jobs, job_id)
            lane = self.screen.lane(task.folder)
            lane.state = QUEUED if lane.state == MISSING else lane.state

    def _record_if_infeasible(self, task: Task) -> bool:
        """Whether it is recorded as failed at once, for a job would come to no more."""
        failure = infeasible_reason(task.session, task.folder)
        if failure:
            for event in task.skip(failure):
                self._pass_on(task, event)
            self.screen.lane(task.folder).state = ENDED
            task.over = True
        return failure is not None

    def _hear(self, task: Task) -> bool:
        """Passes on what the session has told; whether it has said its last word."""
        ended = False
        for event in task.tail.read():
            self._pass_on(task, event)
            ended = event.kind == "ended"
        return ended

    def _pass_on(self, task: Task, event: Event) -> None:
        self.screen.hear(task.folder, event)
        recorded = event.kind == "recorded" and (task.folder / event.facts["folder"] / RECORD).exists()
        if recorded and tracking.database():  # a shared server's jobs file for themselves
            self._delivery.add(task.folder / event.facts["folder"])

    def _ask(self) -> None:
        """Collects the jobs that have ended."""
        for task, state in states(self.in_flight):
            if state.phase is JobPhase.ended:
                self._collect(task, state)
        self._look_beside()

    def _look_beside(self) -> None:
        if self.launcher.max_parallel and self._open:
            self._beside = beside(self.tasks, self.jobs)

    def _collect(self, task: Task, state: State) -> None:
        self._hear(task)
        self.screen.lane(task.folder).state = ENDED
        passing = state.end is not JobEnd.cancelled and task.submissions <= self.launcher.retries
        if task.missing() and passing:
            self.screen.lane(task.folder).state = MISSING
            why = f"{(state.end or JobEnd.lost).name}: {task.why(state)}"
            self.screen.say(f"[bold]{task.folder.name}[/]: {len(task.missing())} to be taken up again: {why}")
        else:
            for event in task.fail(state):
                self._pass_on(task, event)
            task.over = True
        for folder, _ in task.found():
            self._delivery.add(folder)
        task.job = None

    def _cancelled(self) -> bool:
        """Asks, and where the answer is yes ends all jobs and waits for their end."""
        try:
            answer = input(f"cancel {len(self.in_flight)} jobs? what they have measured is kept [y/N] ")
        except EOFError:
            answer = ""
        if not answer.strip().lower().startswith("y"):
            return False
        for task in self._open:
            task.over = True
        while self.in_flight:
            for task in self.in_flight:
                if task.jobs and task.job:
                    task.jobs.cancel([task.job.id])
            time.sleep(ASKED_EACH_S)
            self._ask()
        return True

    def _say_where(self) -> None:
        """How to look after what was left to itself, and how to collect it."""
        for task in self.in_flight:
            if task.job:
                self.screen.say(f"{task.job.name}: {task.folder}/events.jsonl")
        if self._open:
            self.screen.say(f"{len(self._open)} sessions are not submitted")
        self.screen.say("the same command looks again, collects what is measured, and submits what is missing")

    def _close(self) -> None:
        self._delivery.close()
        if self._delivery.waiting:
            runs = "1 run waits" if self._delivery.waiting == 1 else f"{self._delivery.waiting} runs wait"
            self.screen.say(
                f"[yellow]not filed[/]: {runs} on disk ({self._delivery.why}); later: python -m vbench.ingest {ROOT}"
            )


def _filed(tasks: Sequence[Task]) -> set[str]:
    """The digests of the records that the store has. What it alone has is known of the tasks from here on."""
    try:
        filed = {name: tracking.standing(name) for name in {task.session.experiment for task in tasks}}
        for task in tasks:
            for run, record in task.records():
                there = filed[task.session.experiment].get(run.key)
                if record is None and there:
                    task.elsewhere[run.key] = tracking.record(there.run_id)
    except tracking.TrackingFailed:
        return set()  # what is filed is not known then, and what is to be filed will say that it cannot
    return {each.digest for runs in filed.values() for each in runs.values()}


def _check(session: Session, jobs: Jobs) -> None:
    if session.attached:
        attached.check(session.engine)
    elif jobs.on_this_host:
        leases.check(session, session.launcher.exclusive)
    weights.require(session.model, session.engine)


def _all(task: Task) -> list[Record]:
    """Under this campaign's names: an earlier one may have had nothing to tell its runs apart by."""
    found = [record for _, record in task.found()]
    found += [record for run, record in task.elsewhere.items() if all(run != each.run_key for each in found)]
    names = {run.key: run.name for run in task.session.runs}
    return [dataclasses.replace(each, name=names.get(each.run_key, each.name)) for each in found]
