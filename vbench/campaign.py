"""The story of a campaign: check all of it, plan sessions, skip what is known, measure the rest, file, sum up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from vbench import attached, ladders, leases, session, sessionfile, tracking
from vbench.config import Rerun, RunConfig
from vbench.environment import engine_version
from vbench.events import Events
from vbench.plan import Session, plan
from vbench.progress import Progress
from vbench.record import put_aside, recorded
from vbench.rules import checked

ROOT = Path("multirun")


def carry_out(configs: Iterable[RunConfig]) -> int:
    """Runs the campaign on this host, session after session. The exit code: 0 if all is VALID, else 1.

    Raises Refused, before anything is started, where any of it cannot be run.
    """
    runs = [checked(config) for config in configs]
    sessions = ladders.ascending(plan((run, engine_version(run.engine)) for run in runs))
    for each in sessions:
        if each.attached:
            attached.api_key(each.engine)
        else:
            leases.check(each)

    progress = Progress(on_record=lambda folder: _file(folder, progress))
    for each in sessions:
        left = _without_known(each, progress)
        if left.runs:
            folder = ROOT / each.experiment / each.folder
            sessionfile.write(left, folder)
            session.execute(left, folder, Events(folder, progress.hears(left, folder)))

    progress.say("")
    progress.summary()
    experiments = sorted({each.experiment for each in sessions})
    progress.say(
        f"records: {ROOT}/{', '.join(experiments)}    compare: python -m vbench.analysis experiment={experiments[0]}"
    )
    return progress.exit_code


def _without_known(each: Session, progress: Progress) -> Session:
    """The session less the runs that have a VALID record; what else is recorded is put aside, to be measured again."""
    folder = ROOT / each.experiment / each.folder
    left = []
    for run in each.runs:
        record = recorded(folder / run.folder)
        if record and record.verdict == "VALID" and run.config.again is Rerun.none:
            progress.known(record)
            _file(folder / run.folder, progress)
        else:
            left.append(run)
            put_aside(folder / run.folder)
    if len(left) < len(each.runs):
        known = len(each.runs) - len(left)
        progress.say(f"[bold]{each.folder}[/]: {known} of {len(each.runs)} points known (rerun=true repeats)")
    return dataclasses.replace(each, runs=tuple(left))


def _file(folder: Path, progress: Progress) -> None:
    try:
        tracking.file(folder)
    except tracking.TrackingFailed as error:
        progress.say(f"  [yellow]not filed[/] ({error}); later: python -m vbench.ingest {ROOT}")
