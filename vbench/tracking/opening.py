"""Opens the store, and makes a local one on first use.

Many processes may open a fresh store at once: MLflow's own creation of the tables is not safe against that, so it
happens under a lock on the file beside the database. The journal is then WAL, which lets readers and a writer work
at the same time; like the lock, it needs a local disk.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import re
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from vbench.tracking.failures import TrackingFailed
from vbench.tracking.place import database, store
from vbench.tracking.view import EXPERIMENT_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # a record fetched from the store is no news
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own 7 are four minutes on a dead server
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PATIENCE_S = 60.0  # for a lock: filing one run takes well under a second, so one that waits longer is stuck


def connect() -> MlflowClient:
    """A client of the store, made and migrated on first use."""
    return _connect(store())


@contextmanager
def locked(purpose: str) -> Iterator[None]:
    """Holds a local store's lock for one purpose; a server has its own ways, so there it does nothing.

    Raises TrackingFailed where another process does not let go in time.
    """
    path = database()
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.{purpose}.lock").open("w") as lock:
        _wait_for(lock.fileno(), path)
        yield


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of that name, set up on first use; raises TrackingFailed where it is in the bin."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return _create(client, name)
    if found.lifecycle_stage != "active":
        raise TrackingFailed(
            f"experiment {name!r} was deleted from the store; restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or give the runs another experiment="
        )
    return str(found.experiment_id)


@functools.cache
def _connect(uri: str) -> MlflowClient:
    for name, value in ENVIRONMENT.items():  # read when mlflow is imported
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # over a second, and only who tracks pays it

    logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # the tables it creates are no news
    with locked("open"):
        _make()
        _use_wal()
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # the first call is what opens, creates and checks
    return client


def _make() -> None:
    """Makes a local store that is not there under another name: nothing can open one whose making was cut short."""
    path = database()
    if path is None or path.exists():
        return
    from mlflow import MlflowClient  # as above

    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{partial.absolute()}").search_experiments(max_results=1)
    partial.replace(path)


def _use_wal() -> None:
    path = database()
    if path is not None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _create(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException  # as above

    try:
        return str(client.create_experiment(name, artifact_location=_artifacts(name), tags=EXPERIMENT_TAGS))
    except MlflowException as error:
        rival = client.get_experiment_by_name(name)  # another client of the server was faster
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or rival is None:
            raise
        return str(rival.experiment_id)


def _artifacts(experiment: str) -> str | None:
    # Left to itself MLflow puts a local store's artifacts below whatever folder the process is in.
    path: Path | None = database()
    return (path.parent / "artifacts" / re.sub(r"[^\w.-]+", "-", experiment)).as_uri() if path else None


def _wait_for(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _taken(descriptor):
        if time.monotonic() > deadline:
            raise TrackingFailed(f"{path}: another process has held the store for {PATIENCE_S:.0f} s")
        time.sleep(0.01)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
