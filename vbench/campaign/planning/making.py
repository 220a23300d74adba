"""From the tasks of a campaign to its forecast: what is recorded, what cannot work, what the rest will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vbench.campaign.planning.evidence import read_records
from vbench.campaign.planning.expecting import make_expectations
from vbench.campaign.task import Task
from vbench.plan.forecast.campaign import Forecast, forecast
from vbench.plan.forecast.starts import read_starts
from vbench.session import infeasible_reason


def make_forecast(tasks: Sequence[Task], prices: Mapping[str, float] | None = None) -> Forecast:
    """The forecast of the tasks; the store has been looked up for their results. Starts nothing.

    `prices` are $ an hour of one GPU by its name; they take precedence over conf/gpu/.
    """
    missing = {task.session.folder: {run.key for run in task.find_missing_runs()} for task in tasks}
    recorded = {run.key for task in tasks for run in task.session.runs if run.key not in missing[task.session.folder]}
    reasons = {task.session.folder: infeasible_reason(task.session, task.folder) for task in tasks}
    infeasible = {folder: reason.line for folder, reason in reasons.items() if reason and missing[folder]}
    records = read_records()
    expectations, starts = make_expectations(records), read_starts(records)
    sessions = [task.session for task in tasks]
    found = forecast(sessions, recorded, infeasible, starts, expectations.find, prices or {})
    return replace(found, predicted=expectations.predicted, not_predicted=expectations.left_out)
