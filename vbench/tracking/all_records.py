"""All records that the store has: a local store's from its artifacts on disk, a server's by download."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from vbench.schema.record import find_record
from vbench.tracking.failures import TrackingFailed, UnreadableRecord, store_errors
from vbench.tracking.filing import KEY
from vbench.tracking.inventory import record
from vbench.tracking.place import database
from vbench.tracking.reading import has_known_schema, open_reader, query

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vbench.schema.record import Record

MOST = 2000  # records, newest first: more would not change what is learnt from them
FILED = """
SELECT tags.value, run_uuid, artifact_uri FROM runs JOIN tags USING (run_uuid)
WHERE runs.lifecycle_stage = 'active' AND runs.status != 'RUNNING' AND tags.key = :key
ORDER BY start_time DESC LIMIT :most
"""


def records(known: Collection[str]) -> Iterator[Record]:
    """See `vbench.tracking.records`."""
    path = database()
    if path is not None and not path.is_file():
        return
    seen = set(known)
    for key, run_id, artifacts in _list_filed(path):
        if key in seen:
            continue
        seen.add(key)
        found = find_record(Path(unquote(urlsplit(artifacts).path))) if artifacts.startswith("file:") else None
        if found is None:
            with suppress(TrackingFailed, UnreadableRecord):
                found = record(run_id)
        if found is not None:
            yield found


def _list_filed(path: Path | None) -> list[tuple[str, str, str]]:
    """(run key, run id, artifact URI) of each record, newest first; the URI is "" if it was not asked for."""
    with store_errors(f"cannot read {path or 'the tracking server'}"):
        if path is not None and has_known_schema(path):
            with open_reader(path) as connection:
                return connection.execute(FILED, {"key": KEY, "most": MOST}).fetchall()
        table = query()
        column = f"tags.{KEY}"
        if column not in table:
            return []
        return [(key, run_id, "") for key, run_id in zip(table[column], table["run_id"], strict=True)][:MOST]
