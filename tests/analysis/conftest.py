"""A store of its own for a test, and what fills it."""

from __future__ import annotations

import pytest
import records

from vbench import tracking


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)


@pytest.fixture
def file(store, tmp_path, filed_once):
    """Files records in the store of the test, which has none of others, and then beside what it has."""

    def add(*made):
        if not (tmp_path / "multirun").exists():
            filed_once.fill(tmp_path, made)
        else:
            for record in made:
                tracking.file(records.saved(record, tmp_path / "multirun"))

    return add
