"""launcher.budget_gpu_hours: a campaign that would take more is refused before anything is started."""

from __future__ import annotations

from collections.abc import Sequence

from vbench.campaign.planning.making import make_forecast
from vbench.campaign.planning.wording import show_range
from vbench.campaign.task import Task
from vbench.schema.errors import Refused


def refuse_above_budget(tasks: Sequence[Task], budget: float) -> None:
    """Raises Refused if what is missing of these tasks is expected to take more GPU hours than the budget."""
    hours = make_forecast(tasks).gpu_hours
    if hours.value > budget:
        raise Refused(
            f"launcher.budget_gpu_hours={budget:g}: the plan takes {show_range(hours)} GPU hours; raise it, ask for "
            "less, or see where they go with hydra/launcher=plan"
        )
