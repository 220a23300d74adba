"""The story of a plan: group the runs into sessions, look up what is recorded, forecast the rest, write it, show it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console

from vbench.campaign.planning import document, page
from vbench.campaign.planning.making import make_forecast
from vbench.campaign.planning.summary import summarise
from vbench.campaign.results import look_up_store
from vbench.campaign.tasklist import ROOT, make_tasks
from vbench.host import gpus
from vbench.plan.forecast.campaign import Forecast
from vbench.schema import RunConfig
from vbench.schema.errors import Refused
from vbench.schema.files import refuse_if_unwritable
from vbench.schema.record import atomic

FOLDER = "plan"  # below the experiment's


def carry_out(
    configs: Iterable[RunConfig], given: Mapping[str, int], prices: Mapping[str, float], out: Path | None
) -> int:
    """Plans the campaign; returns the exit code.

    `given` are the GPUs to pack on, by pool, and `prices` $ an hour of one GPU by its name.

    Raises Refused, as the campaign itself would, if a part of it cannot be run.
    """
    began = time.perf_counter()
    tasks = make_tasks(configs)
    experiments = sorted({task.session.experiment for task in tasks})
    folder = out or (ROOT / experiments[0] / FOLDER if len(experiments) == 1 else ROOT / FOLDER)
    refuse_if_unwritable(folder)
    look_up_store([task.results for task in tasks])
    found = make_forecast(tasks, prices)
    sizes = _find_pool_sizes(found, given)
    written = _write(folder, found, sizes, ", ".join(experiments))
    console = Console(highlight=False, soft_wrap=True)
    for line in summarise(found, sizes, ", ".join(experiments)):
        console.print(line, markup=False)
    took = time.perf_counter() - began
    console.print(f"written: {written}, {folder / document.NAME}; planned in {took:.1f} s", markup=False)
    budget = tasks[0].session.launcher.budget_gpu_hours
    if budget is not None and found.gpu_hours.value > budget:
        raise Refused(
            f"launcher.budget_gpu_hours={budget:g}: the plan takes {found.gpu_hours.value:.3g} GPU hours; a campaign "
            "with this budget would be refused"
        )
    return 0


def _find_pool_sizes(found: Forecast, given: Mapping[str, int]) -> dict[str, int]:
    """The GPUs of each pool, where they are known: as given, else those of this host if a session fits on them."""
    sizes = {}
    for pool, sessions in found.pools.items():
        largest = max(each.gpus for each in sessions)
        gpu = sessions[0].session.hardware.gpu
        number = given.get(pool) or (given.get(gpu.name) if gpu else None)
        if number is not None:
            if number < largest:
                raise Refused(f"gpus={{{pool}: {number}}}: a session needs {largest}; give at least as many")
            sizes[pool] = number
        elif gpu is not None and (here := gpus.count_matching(gpu)) >= largest:
            sizes[pool] = here
    if unknown := set(given) - {name for pool in found.pools for name in (pool, pool.partition(" in ")[0])}:
        names = ", ".join(sorted(found.pools)) or "none"
        raise Refused(f"gpus: the plan has no sessions on {', '.join(sorted(unknown))}; its GPUs are {names}")
    return sizes


def _write(folder: Path, found: Forecast, sizes: Mapping[str, int], experiment: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / document.NAME) as partial:
        partial.write_text(json.dumps(document.describe(found, sizes), indent=1) + "\n")
    figures = page.draw_figures(found, sizes, folder)
    path = folder / page.NAME
    with atomic(path) as partial:
        partial.write_text(page.write(found, sizes, experiment, figures), encoding="utf-8")
    return path
