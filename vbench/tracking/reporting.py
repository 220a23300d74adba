"""A campaign's report in MLflow: the files as artifacts of one run, the tables as the campaign's description.

That run measured nothing: `reading` excludes it by its tag `vbench.report`. A campaign has one such run; an earlier
report's run is deleted once its successor is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vbench.schema.text import one_line
from vbench.tracking.failures import TrackingFailed, store_errors
from vbench.tracking.filing import attach
from vbench.tracking.mapping import LONGEST_TAG
from vbench.tracking.opening import connect, hold_lock
from vbench.tracking.pages import campaign_page, experiment_page, report_route, run_page
from vbench.tracking.place import database, store
from vbench.tracking.view import REPORT, VIEW, describe_experiment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Pages:
    """The pages of a campaign and of its report; None if the store is not a server."""

    campaign: str | None
    report: str | None


def report(experiment: str, parts: Sequence[str], files: Iterable[Path]) -> Pages:
    """Files the report of an experiment, replacing an earlier one; `parts` are its tables in Markdown.

    Raises TrackingFailed.
    """
    with store_errors(f"cannot file the report of {experiment}"), hold_lock("file"):
        client = connect()
        found = client.get_experiment_by_name(experiment)
        if found is None:
            raise TrackingFailed(f"experiment {experiment!r} is no longer in the store")
        earlier = client.search_runs([found.experiment_id], f"tags.`{REPORT}` = 'true'")
        run = client.create_run(found.experiment_id, run_name="report", tags={REPORT: "true"})
        route = report_route(found.experiment_id, run.info.run_id)
        client.set_tag(run.info.run_id, "mlflow.note.content", describe_experiment(parts, route, LONGEST_TAG))
        attach(client, run, files)
        client.set_terminated(run.info.run_id)
        client.set_experiment_tag(found.experiment_id, "mlflow.note.content", describe_experiment(parts, route))
        for each in earlier:
            client.delete_run(each.info.run_id)
        return Pages(
            campaign=campaign_page(store(), found.experiment_id),
            report=run_page(store(), found.experiment_id, run.info.run_id),
        )


def page(experiment: str) -> str | None:
    """The URL of an experiment's page; None if the store is not a server. Raises TrackingFailed."""
    with store_errors(f"cannot find {experiment}"):
        found = connect().get_experiment_by_name(experiment)
        return campaign_page(store(), found.experiment_id) if found else None


def list_pages() -> dict[str, str]:
    """The URL of each experiment that has runs of ours, by its name, in order. Raises TrackingFailed."""
    path = database()
    if path is not None and not path.exists():
        return {}
    with store_errors("cannot list the experiments"):
        found = [each for each in connect().search_experiments() if f"mlflow.sharedViewState.{VIEW}" in each.tags]
    return {
        one_line(each.name): experiment_page(store(), each.experiment_id)
        for each in sorted(found, key=lambda each: each.name)
    }
