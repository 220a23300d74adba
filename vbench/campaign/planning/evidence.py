"""The records that estimates rest on: all below multirun/, and those that only the store has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vbench import tracking
from vbench.campaign.tasklist import ROOT
from vbench.schema.record import RECORD, Record, find_record, is_aside


def read_records() -> list[Record]:
    """Each record once. If the store cannot be read, those on disk."""
    found = {record.run_key: record for record in _read_disk(ROOT)}
    with suppress(tracking.TrackingFailed):
        found |= {record.run_key: record for record in tracking.records(found)}
    return list(found.values())


def _read_disk(root: Path) -> Iterator[Record]:
    for folder, _, files in os.walk(root):
        path = Path(folder)
        if RECORD in files and not is_aside(path) and (record := find_record(path)):
            yield record
