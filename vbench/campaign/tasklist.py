"""From the configs of a campaign to its tasks: checked, grouped into sessions, each with its folder below multirun/."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vbench import compose
from vbench.campaign.task import Task
from vbench.engine import external
from vbench.engine.identity import ask_engine_version
from vbench.plan import ladders
from vbench.plan.rules import check_address, check_run
from vbench.plan.sessions import plan
from vbench.schema import RunConfig

ROOT = Path("multirun")


def make_tasks(configs: Iterable[RunConfig]) -> list[Task]:
    """The tasks, in the order in which their first runs were requested. Raises Refused if a config cannot be run."""
    runs = [check_run(external.name_by_server(check_address(each), compose.known_models)) for each in configs]
    sessions = ladders.order_by_demand(plan((run, ask_engine_version(run.engine)) for run in runs))
    return [Task(each, ROOT / each.experiment / each.folder, each.runs[0].config.rerun_mode) for each in sessions]
