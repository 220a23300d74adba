"""The URI of the store in which runs are tracked. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path

SQLITE = "sqlite:///"


def store() -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, or else a SQLite file below the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path.cwd() / 'mlruns' / 'mlflow.db'}"


def database() -> Path | None:
    """The SQLite file of a local store; None if the store is a server or another database."""
    uri = store()
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute() if uri.startswith(SQLITE) else None
