"""Whether records could be filed in a local store: asked before anything is measured, not when results wait for it."""

from __future__ import annotations

import os
import sqlite3

from vbench.schema.errors import Refused
from vbench.schema.pasting import say_command
from vbench.tracking.place import database


def refuse_if_damaged() -> None:
    """Raises Refused if the local store is there, but is no database or cannot be written."""
    path = database()
    if path is None or not path.exists():
        return
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        raise Refused(f"{path}: MLflow's store cannot be written; make it writable, or set MLFLOW_TRACKING_URI")
    try:
        connection = sqlite3.connect(path)
        try:
            connection.execute("SELECT name FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError:  # locked, or on a disk that fails: that may pass
        return
    except sqlite3.DatabaseError as error:
        later = (
            f"move it away (records stay in multirun/), and file them in a new one: {say_command('ingest', 'multirun')}"
        )
        raise Refused(f"{path}: MLflow's store is damaged ({error}); {later}") from error
