"""Files records in MLflow and reads them back as one table. Only this room imports mlflow, and only when it is needed.

It neither measures nor judges: the record on disk is authoritative, and the store is a copy that can be recreated.

    store()            where runs are tracked
    file(folder)       one record -> one MLflow run, even if filed repeatedly
    query(experiment)  every run -> one row of a DataFrame
    records()          every record that the store has
    standing(…)        the records of an experiment that the store has, by run key
    report(experiment, tables, files)   a report -> artifacts and description of the experiment
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from vbench.schema.record import RECORD
from vbench.tracking.failures import TrackingFailed, UnreadableRecord
from vbench.tracking.place import database, store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from vbench.schema.record import Record
    from vbench.tracking.filing import Filed
    from vbench.tracking.inventory import Standing
    from vbench.tracking.reporting import Pages

__all__ = [
    "TrackingFailed", "UnreadableRecord", "database", "deliver", "digest", "file", "list_pages", "page", "query",
    "record", "records", "report", "run_page", "standing", "store",
]  # fmt: skip


def file(folder: Path) -> str:
    """Files this run folder's record unless it already was; returns the id of the MLflow run that holds it.

    With `record.json` it stores `requests.npz` and `server.log` (the folder's, or else its parent's). Of records with
    the same run key the store keeps the one with the best verdict (VALID, INVALID, FAILED), then the latest.
    Raises TrackingFailed (a fault of the store: file again later) or UnreadableRecord (a fault of this folder).
    """
    return deliver(folder).run_id


def deliver(folder: Path) -> Filed:
    """Like `file`; the result says whether the run is new to the store."""
    from vbench.tracking import filing  # mlflow takes over a second to import

    return filing.deliver(folder)


def digest(folder: Path) -> str:
    """A digest of this folder's record, which distinguishes it from others of its run key. Raises UnreadableRecord."""
    try:
        return hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UnreadableRecord(f"{folder}: {error}") from error


def standing(experiment: str) -> dict[str, Standing]:
    """The records of an experiment that the store has, by run key; empty if store or experiment do not exist yet.

    Raises TrackingFailed.
    """
    from vbench.tracking import inventory

    return inventory.standing(experiment)


def record(run_id: str) -> Record:
    """The record of an MLflow run, read from its artifacts. Raises TrackingFailed, UnreadableRecord."""
    from vbench.tracking import inventory

    return inventory.record(run_id)


def records(known: Collection[str] = ()) -> Iterator[Record]:
    """The records that the store has, newest first, without those of `known` run keys. Raises TrackingFailed."""
    from vbench.tracking import all_records

    return all_records.records(known)


def report(experiment: str, parts: Sequence[str], files: Iterable[Path]) -> Pages:
    """Files the report of an experiment, replacing an earlier one, and returns the pages that show it.

    The files become artifacts of a run named `report`, which `query` leaves out; the parts, tables in Markdown, become
    the experiment's description. Raises TrackingFailed.
    """
    from vbench.tracking import reporting  # as above

    return reporting.report(experiment, parts, files)


def page(experiment: str) -> str | None:
    """The URL of the experiment's runs in MLflow's UI; None if the store is not a server."""
    from vbench.tracking import reporting  # as above

    return reporting.page(experiment)


def list_pages() -> dict[str, str]:
    """The URL of each experiment's runs by its name; of a local store, where `make ui` shows it.

    Empty if there is no store yet. Raises TrackingFailed.
    """
    from vbench.tracking import reporting  # as above

    return reporting.list_pages()


def run_page(run_id: str) -> str:
    """The URL of a run in MLflow's UI; of a local store, where `make ui` shows it."""
    from vbench.tracking.pages import direct_run_page

    return direct_run_page(store(), run_id)


def query(experiment: str | None = None, where: str = "") -> pd.DataFrame:
    """One row for each run of one experiment or of all; `where` is an MLflow filter string.

    Columns: run_id, run_name, experiment, start_time (UTC), status, `params.*` (numbers and booleans if the schema
    says so), `metrics.*` (float), `tags.*`. A missing value is NaN or None.
    Raises Refused (no store, no such experiment, a filter MLflow cannot read) or TrackingFailed.
    """
    from vbench.tracking import reading  # pandas: a session that only files never needs it

    return reading.query(experiment, where)
