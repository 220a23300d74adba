"""A store of its own for a test, and what the analysis sees of it."""

from __future__ import annotations

import pytest
import records

from vbench import tracking
from vbench.analysis import frame


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)


@pytest.fixture
def runs(store, tmp_path):
    """Files records and gives the analysis' view of all that is filed."""

    def file(*made):
        for record in made:
            tracking.file(records.saved(record, tmp_path / "multirun"))
        return frame.runs(tracking.query())

    return file
