"""Finds the records that the store has, so that a campaign neither measures nor files them again."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vbench.schema.record import RECORD, Record, record_flaw
from vbench.tracking.failures import UnreadableRecord, store_errors
from vbench.tracking.filing import DIGEST, KEY, STATUS
from vbench.tracking.opening import connect
from vbench.tracking.place import database
from vbench.tracking.reading import PAGE, has_known_schema, open_reader

if TYPE_CHECKING:
    from collections.abc import Iterable

TAGS = """
SELECT run_uuid, tags.key, tags.value FROM tags JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)
WHERE runs.lifecycle_stage = 'active' AND runs.status != 'RUNNING' AND experiments.name = :experiment
AND tags.key IN (:key, :digest, :validity)
"""
VALIDITY = "vbench.validity"


@dataclass(frozen=True)
class Standing:
    """A record in the store."""

    run_id: str
    digest: str
    verdict: str


def standing(experiment: str) -> dict[str, Standing]:
    """See `vbench.tracking.standing`."""
    path = database()
    if path is not None and not path.is_file():
        return {}
    with store_errors(f"cannot read {path or 'the tracking server'}"):
        cells = _select_tags(path, experiment) if path and has_known_schema(path) else _search_tags(experiment)
        runs: dict[str, dict[str, str]] = {}
        for run_id, key, value in cells:
            runs.setdefault(run_id, {})[key] = value
    whole = {run: tags for run, tags in runs.items() if tags.keys() >= {KEY, DIGEST} and tags.get(VALIDITY) in STATUS}
    return {tags[KEY]: Standing(run_id, tags[DIGEST], tags[VALIDITY]) for run_id, tags in whole.items()}


def record(run_id: str) -> Record:
    """See `vbench.tracking.record`."""
    with store_errors(f"cannot read the record of run {run_id}"), tempfile.TemporaryDirectory() as folder:
        found = Path(connect().download_artifacts(run_id, RECORD, folder)).parent
        if flaw := record_flaw(found):
            raise UnreadableRecord(f"{RECORD} of MLflow's run {run_id}: not a record of this version ({flaw})")
        return Record.load(found)


def _select_tags(path: Path, experiment: str) -> list[tuple[str, str, str]]:
    wanted = {"experiment": experiment, "key": KEY, "digest": DIGEST, "validity": VALIDITY}
    with open_reader(path) as connection:
        try:
            return connection.execute(TAGS, wanted).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # a store that is still being created has no tables yet
                return []
            raise


def _search_tags(experiment: str) -> Iterable[tuple[str, str, str]]:
    client = connect()
    found: Any = client.get_experiment_by_name(experiment)
    token: str | None = None
    while found is not None:
        page = client.search_runs(
            [found.experiment_id], "attributes.status != 'RUNNING'", max_results=PAGE, page_token=token
        )
        for run in page:
            yield from ((run.info.run_id, key, value) for key, value in run.data.tags.items())
        token = page.token
        if not token:
            return
