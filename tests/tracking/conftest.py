"""A store of its own for a test."""

from __future__ import annotations

import pytest
import records


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)
