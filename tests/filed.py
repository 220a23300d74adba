"""Stores that hold runs already: filed once in a process, and copied for each test, because filing takes long."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
import records

from vbench import tracking
from vbench.schema.record import Record

PATHS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))  # columns of the store that name its folder


class FiledOnce:
    """Fills stores with records; of each list of records the first is filed, and the others are its copies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._homes: dict[str, Path] = {}

    def fill(self, home: Path, made: Iterable[Record]) -> None:
        """Makes the store below `home`, with these records, and their folders below `home`/multirun."""
        listed = list(made)
        key = repr(listed)
        if key not in self._homes:
            self._homes[key] = self._file(self._root / str(len(self._homes)), listed)
        copy_home(self._homes[key], home)

    def _file(self, home: Path, made: list[Record]) -> Path:
        store = records.empty_store(home)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
            for record in made:
                tracking.file(records.saved(record, home / "multirun"))
        return home


def copy_home(home: Path, copy: Path) -> None:
    """Copies a folder that has a store below it; runs in the copy's store have their artifacts in the copy."""
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("mlflow.db*"), dirs_exist_ok=True)
    path = records.copy_store(home / "mlruns" / "mlflow.db", copy)
    with closing(sqlite3.connect(path)) as store, store:
        for table, column in PATHS:
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (home.as_uri(), copy.as_uri()))
