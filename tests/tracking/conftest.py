"""A store of its own for a test."""

from __future__ import annotations

import pytest


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    import records  # imports pandas, which tests/conftest.py does first, but only after it has read this file

    return records.empty_store(tmp_path)
