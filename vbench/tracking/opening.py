"""Opens the store, and creates a local one on first use.

Many processes may open a new store at once. MLflow's creation of the tables is not safe then, so it happens under
a lock on a file next to the database.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vbench.tracking.failures import TrackingFailed
from vbench.tracking.journal import set_journal
from vbench.tracking.place import database, store
from vbench.tracking.view import EXPERIMENT_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # fetching a record needs no progress bar
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's default of 7 waits four minutes for a dead server
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PATIENCE_S = 60.0  # for a lock: filing one run takes well under a second


def connect() -> MlflowClient:
    """Returns a client of the store; creates and migrates the store on first use."""
    return _connect(store())


@contextmanager
def hold_lock(purpose: str) -> Iterator[None]:
    """Holds a local store's lock during the block; does nothing for a server.

    Raises TrackingFailed if another process does not release it in time.
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
    """The id of the experiment of that name, created on first use. Raises TrackingFailed if it was deleted."""
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
    from mlflow import MlflowClient  # takes over a second; only tracking needs it

    # It logs every table that it creates, and every error of the database that it also raises, with a traceback.
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)
    with hold_lock("open"):
        _make()
        if path := database():
            set_journal(path)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # the first call opens, creates and checks
    return client


def _make() -> None:
    """Creates a missing local store under a temporary name, so that no process opens a half-created one."""
    path = database()
    if path is None or path.exists():
        return
    from mlflow import MlflowClient  # as above

    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{partial.absolute()}").search_experiments(max_results=1)
    partial.replace(path)


def _create(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException  # as above

    try:
        return str(client.create_experiment(name, artifact_location=_artifacts(name), tags=EXPERIMENT_TAGS))
    except MlflowException as error:
        rival = client.get_experiment_by_name(name)  # another client created it first
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or rival is None:
            raise
        return str(rival.experiment_id)


def _artifacts(experiment: str) -> str | None:
    # By default MLflow puts a local store's artifacts below the working directory.
    path: Path | None = database()
    return (path.parent / "artifacts" / re.sub(r"[^\w.-]+", "-", experiment)).as_uri() if path else None


def _wait_for(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            raise TrackingFailed(f"{path}: another process has locked the store for {PATIENCE_S:.0f} s")
        time.sleep(0.01)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
