"""A store of its own for a test, and what fills it."""

from __future__ import annotations

import pytest


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    import records  # imports pandas, which tests/conftest.py does first, but only after it has read this file

    return records.empty_store(tmp_path)


@pytest.fixture
def file(store, tmp_path, filed_once):
    """Files records in the store of the test, which has none of others, and then beside what it has."""
    import records  # as above

    from vbench import tracking

    def add(*made):
        if not (tmp_path / "multirun").exists():
            filed_once.fill(tmp_path, made)
        else:
            for record in made:
                tracking.file(records.saved(record, tmp_path / "multirun"))

    return add
