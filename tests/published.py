"""The records that docs/results publishes, read from their archives once in a process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from vbench.schema.archives import read_records, walk_runs
from vbench.schema.record import REQUESTS, Record, Requests

RESULTS = Path(__file__).parents[1] / "docs" / "results"
H200 = RESULTS / "h200-vllm-0.26"


@cache
def read_published(root: Path = RESULTS) -> tuple[Record, ...]:
    """Every published record at or below `root`, an archive or a folder that holds some."""
    found = tuple(read_records(root))
    assert found, f"{root}: no records"
    return found


def walk_published() -> Iterator[tuple[Record, Requests]]:
    """Every published run under load, with its raw requests."""
    for folder in walk_runs(RESULTS):
        if (folder / REQUESTS).is_file():
            yield Record.load(folder), Requests.load(folder / REQUESTS)
