"""Reads all runs of the store as one table.

A local store is read by SQL, read-only, about ten times faster than MLflow's own search, but only if its schema is one
that this module was written for. Any other store is searched page by page.
"""

from __future__ import annotations

import difflib
import gc
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from vbench.schema.errors import Refused
from vbench.schema.pasting import say_command
from vbench.tracking.failures import first_line, store_errors
from vbench.tracking.mapping import restore
from vbench.tracking.opening import connect
from vbench.tracking.place import database, store
from vbench.tracking.view import REPORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

KNOWN_REVISIONS = {"dc11669786a5"}  # of mlflow 3.17
EXPERIMENTS = "SELECT name FROM experiments WHERE lifecycle_stage = 'active'"
CHOSEN = (
    "FROM runs JOIN experiments USING (experiment_id) "
    "WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active' "
    "AND (:experiment IS NULL OR experiments.name = :experiment)"
)
RUNS = f"SELECT run_uuid, runs.name, experiments.name, start_time, status {CHOSEN} ORDER BY start_time DESC, run_uuid"
REPORTS = "SELECT run_uuid FROM tags WHERE key = ?"
CELLS = "SELECT run_uuid, key, {value} FROM {table} WHERE {kept} run_uuid IN (SELECT run_uuid {chosen})"
SERIES = "/"  # in the key of a series (group/name), whose last sample is not a result of the run
PAGE = 1000
RUN_COLUMNS = ["run_id", "run_name", "experiment", "start_time", "status"]

Cell = tuple[str, str, Any]  # run id, column, value


@dataclass(frozen=True)
class _Rows:
    """Long format: runs (id, name, experiment, start in ms, status) and a cell for each of their values."""

    runs: list[tuple[str, str, str, int, str]]
    reports: set[str]  # the ids of those that are reports, which measured nothing
    params: Iterable[Cell]
    metrics: Iterable[Cell]
    tags: Iterable[Cell]


def query(experiment: str | None = None, where: str = "") -> pd.DataFrame:
    """See `vbench.tracking.query`."""
    path = database()
    if path is not None and not path.is_file():
        raise Refused(
            f"nothing is tracked yet: there is no {path}; measure (vbench model=…), file records "
            f"({say_command('ingest', 'PATH')}), or set MLFLOW_TRACKING_URI"
        )
    with store_errors(f"cannot read {path or 'the tracking server'}"):
        if path is None or not has_known_schema(path):
            return _table(_rows(_search(experiment, where)))
        ids = {run.info.run_id for _, run in _search(experiment, where)} if where else None
        with open_reader(path) as connection:
            _check_experiment(experiment, [name for (name,) in connection.execute(EXPERIMENTS)])
            return _table(_select(connection, experiment, ids))


# By SQL.


def has_known_schema(path: Path) -> bool:
    """Whether the SQL here was written for the tables of this local store."""
    with open_reader(path) as connection:
        return {revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")} <= (
            KNOWN_REVISIONS
        )


@contextmanager
def open_reader(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a read-only connection to a local store, as a snapshot."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # all selects see the same snapshot, even if runs are filed meanwhile
        yield connection


def _select(connection: sqlite3.Connection, experiment: str | None, ids: set[str] | None) -> _Rows:
    wanted = {"experiment": experiment}

    def select(what: str) -> Iterator[tuple[Any, ...]]:
        rows = connection.execute(what, wanted)
        return rows if ids is None else (row for row in rows if row[0] in ids)

    def cells(table: str, value: str, kept: str = "") -> Iterator[Cell]:
        return select(CELLS.format(table=table, value=value, kept=kept, chosen=CHOSEN))

    return _Rows(
        runs=list(select(RUNS)),
        reports={run for (run,) in connection.execute(REPORTS, (REPORT,))},
        params=cells("params", "value"),
        metrics=cells("latest_metrics", "CASE WHEN is_nan THEN NULL ELSE value END", f"instr(key, '{SERIES}') = 0 AND"),
        tags=cells("tags", "value"),
    )


# By search.


def _search(experiment: str | None, where: str) -> list[tuple[str, Run]]:
    """(experiment name, run) of every run that passes the filter."""
    from mlflow.exceptions import MlflowException  # takes over a second; a plain query does not need it

    client = connect()
    known: list[Experiment] = list(client.search_experiments())
    _check_experiment(experiment, [each.name for each in known])
    names = {each.experiment_id: each.name for each in known if experiment in (None, each.name)}
    try:
        with _without_gc():
            runs = list(_pages(client, list(names), where))
    except MlflowException as error:
        if where and error.error_code == "INVALID_PARAMETER_VALUE":
            raise Refused(f'where="{where}": {first_line(error)}') from error
        raise
    return [(names[run.info.experiment_id], run) for run in runs]


def _pages(client: MlflowClient, experiments: list[str], where: str) -> Iterator[Run]:
    page = client.search_runs(experiments, where, max_results=PAGE)
    yield from page
    while page.token:
        page = client.search_runs(experiments, where, max_results=PAGE, page_token=page.token)
        yield from page


@contextmanager
def _without_gc() -> Iterator[None]:
    # A search creates a million small objects that all stay; garbage collection would take half of its time.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _rows(found: list[tuple[str, Run]]) -> _Rows:
    runs = [run for _, run in found]
    return _Rows(
        runs=[(run.info.run_id, run.info.run_name, name, run.info.start_time, run.info.status) for name, run in found],
        reports={run.info.run_id for run in runs if REPORT in run.data.tags},
        params=((run.info.run_id, *item) for run in runs for item in run.data.params.items()),
        metrics=(
            (run.info.run_id, *item) for run in runs for item in run.data.metrics.items() if SERIES not in item[0]
        ),
        tags=((run.info.run_id, *item) for run in runs for item in run.data.tags.items()),
    )


# Of either.


def _check_experiment(experiment: str | None, names: list[str]) -> None:
    if experiment is None or experiment in names:
        return
    near = difflib.get_close_matches(experiment, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise Refused(f"experiment={experiment}: not in {store()}; {hint}it has {', '.join(sorted(names)) or 'none yet'}")


def _table(rows: _Rows) -> pd.DataFrame:
    runs = [run for run in rows.runs if run[0] not in rows.reports]
    place = {run[0]: row for row, run in enumerate(runs)}
    table = pd.DataFrame(runs, columns=RUN_COLUMNS)
    table["start_time"] = pd.to_datetime(table["start_time"], unit="ms", utc=True)
    metrics = {f"metrics.{key}": column for key, column in _pivot(rows.metrics, place, np.nan, float).items()}
    params = {f"params.{key}": restore(key, column) for key, column in _pivot(rows.params, place, None, object).items()}
    tags = {f"tags.{key}": column for key, column in _pivot(rows.tags, place, None, object).items()}
    return pd.concat([table, pd.DataFrame(params | metrics | tags, index=table.index)], axis=1)


def _pivot(cells: Iterable[Cell], place: dict[str, int], missing: Any, kind: type) -> dict[str, pd.Series]:
    """One column for each key, from the cells of the runs that have a row."""
    columns: dict[str, np.ndarray[Any, Any]] = {}
    one: dict[Any, Any] = {}  # equal values are one object: a store has many runs and few values
    for run, key, value in cells:
        row = place.get(run)
        if row is None:
            continue
        if key not in columns:
            columns[key] = np.full(len(place), missing, dtype=kind)
        if value is not None:
            columns[key][row] = value if kind is float else one.setdefault(value, value)
    return {key: pd.Series(columns[key], dtype=kind) for key in sorted(columns)}
