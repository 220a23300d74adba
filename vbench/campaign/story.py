"""The story of a campaign: check all of it, plan sessions, skip measured runs, attach to living jobs, submit what is
missing, watch, retry transient failures, file, sum up.

It can be killed at any moment, and the same command continues: measured runs are on disk, and `job.json` names the
jobs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

from vbench.campaign import claims
from vbench.campaign.interrupt import confirm_cancelling, print_remaining_jobs
from vbench.campaign.jobs import Jobs
from vbench.campaign.planning.budget import refuse_above_budget
from vbench.campaign.results import look_up_store
from vbench.campaign.submitting import Submitter
from vbench.campaign.task import Task, TaskState, in_state, to_submit
from vbench.campaign.tasklist import ROOT, make_tasks
from vbench.campaign.watching import Watcher
from vbench.engine import external, weights
from vbench.engine.command import find_unreachable_program, find_unset_variable
from vbench.host import leases
from vbench.plan.reusable import is_reusable
from vbench.plan.sessions import Session
from vbench.schema import Launcher, RunConfig
from vbench.schema.errors import Refused
from vbench.schema.files import refuse_if_unwritable
from vbench.schema.pasting import say_command
from vbench.tracking.delivery import Delivery
from vbench.tracking.soundness import refuse_if_damaged
from vbench.watch.markup import fill_markup
from vbench.watch.outcome import advice, exit_code, summary
from vbench.watch.screen import Screen
from vbench.watch.searches import answer_lines

SOON_S = 1.0  # filing that takes longer is said
LOOK_S = 0.25  # between two looks at the events on disk
INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended


def carry_out(configs: Iterable[RunConfig], jobs: Jobs) -> int:
    """Runs the campaign on this backend. Returns the exit code: 0 if all runs are VALID, else 1; 130 after Ctrl-C.

    Raises Refused, before anything is started, if any part of it cannot be run; KeyboardInterrupt if no job is left
    that would go on by itself.
    """
    tasks = make_tasks(configs)
    launcher = _one_launcher([task.session for task in tasks], jobs)
    for task in tasks:
        refuse_if_unwritable(task.folder)
    refuse_if_damaged()
    with Delivery(look_up_store([task.results for task in tasks])) as delivery:
        if launcher.budget_gpu_hours is not None:
            refuse_above_budget(tasks, launcher.budget_gpu_hours)
        return _carry_out(tasks, jobs, launcher, delivery)


def _carry_out(tasks: Sequence[Task], jobs: Jobs, launcher: Launcher, delivery: Delivery) -> int:
    screen = Screen({task.folder: task.session for task in tasks})
    watcher = Watcher(tasks, jobs, screen, delivery, launcher.retries)
    submitter = Submitter(tasks, jobs, launcher, watcher)
    try:
        with screen:
            _take_stock(tasks, jobs, screen, watcher, delivery)
            if wait := submitter.describe_waiting():
                screen.print(wait)
            if launcher.detach:
                submitter.submit_for_detaching()
                print_remaining_jobs(tasks, screen)
                _close(delivery, screen)
                return 0  # nothing has failed yet
            while any(task.state is not TaskState.done for task in tasks):
                submitter.submit_admitted()
                watcher.look()
                screen.print_progress()
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        if not in_state(tasks, TaskState.in_flight):
            raise
        if not confirm_cancelling(tasks, screen, watcher):
            print_remaining_jobs(tasks, screen)
            return INTERRUPTED  # records not filed yet are on disk, and the next command files them
        _conclude(tasks, jobs, screen, watcher, delivery)
        return INTERRUPTED
    return _conclude(tasks, jobs, screen, watcher, delivery)


def _one_launcher(sessions: Sequence[Session], jobs: Jobs) -> Launcher:
    launcher = sessions[0].launcher
    if any(each.launcher != launcher for each in sessions):
        raise Refused("launcher: its values hold for the whole campaign; give each of them once, not as a grid")
    if launcher.detach and launcher.max_parallel and jobs.on_this_host:
        raise Refused(
            f"launcher.max_parallel={launcher.max_parallel}: with launcher.detach=true no driver stays to count jobs; "
            "leave one of them out"
        )
    return launcher


def _take_stock(tasks: Sequence[Task], jobs: Jobs, screen: Screen, watcher: Watcher, delivery: Delivery) -> None:
    """Finds what is recorded, which jobs are alive and what is missing. Raises Refused if that cannot be run."""
    claims.follow_living_jobs(tasks, jobs)
    for line in (
        *claims.describe_unreadable(tasks),
        *(line for task in tasks for line in task.results.describe_unreadable()),
    ):
        screen.print(fill_markup("[yellow]{}[/]", line))
    for task in tasks:
        records = [
            record
            for _, record in task.results.pair_with_records()
            if record and is_reusable(record, task.rerun_pending)
        ]
        screen.show_reused(task.folder, records)
        for folder, record in task.results.find_on_disk():
            if is_reusable(record, task.rerun_pending):
                delivery.add(folder)
        if task.state is TaskState.in_flight:
            watcher.show_attached(task)
        elif not task.find_missing_runs():
            task.finish()
    for task in to_submit(tasks):
        _check(task.session, jobs)


def _check(session: Session, jobs: Jobs) -> None:
    if session.is_external:
        external.check_config(session.engine)
    elif jobs.on_this_host:
        leases.refuse_if_unavailable(session, session.launcher.exclusive)
    if not session.is_external and (unreachable := find_unreachable_program(session.engine.command)):
        raise Refused(unreachable)
    unset = find_unset_variable(session.engine, os.environ)
    if unset and jobs.on_this_host and not session.launcher.setup:  # elsewhere, the job's own environment decides
        raise Refused(unset)
    weights.require(session.model, session.engine)


def _conclude(tasks: Sequence[Task], jobs: Jobs, screen: Screen, watcher: Watcher, delivery: Delivery) -> int:
    """Sums up: prints the table, what failed and why, where everything is, and what to do next."""
    for task in tasks:
        watcher.file_records(task)
    claims.forget(tasks, jobs)
    if jobs.on_this_host and not all(task.session.is_external for task in tasks):
        leases.end_orphans()  # of jobs that were killed after their last record: no later job has ended these servers
    records = [record for task in tasks for record in task.results.collect_for_summary()]
    experiments = sorted({task.session.experiment for task in tasks})
    screen.print("", *summary(records))
    _close(delivery, screen)
    compare = say_command("analyze", f"experiment={experiments[0]}")
    screen.print(fill_markup("records: {}/{}    compare: {}", ROOT, ", ".join(experiments), compare), *advice(records))
    screen.print(*(fill_markup("{}", line) for line in answer_lines(records)))
    return exit_code(records)


def _close(delivery: Delivery, screen: Screen) -> None:
    if not delivery.close(SOON_S):
        screen.print("filing records in MLflow")
        delivery.close()
    for line in delivery.report():
        screen.print(fill_markup("[yellow]not filed[/]: {}; later: {}", line, say_command("ingest", str(ROOT))))
