"""One record becomes one MLflow run, even if several processes file it repeatedly.

A run gets its run key and its record's digest at creation, and its status last: a run of our key that is still RUNNING
was left by a process that died while filing, and the next filing of the record removes it, as it does a run that lost
its verdict or its digest to somebody's edit. Of several records of one
key the store keeps the best verdict, then the latest, so a failed rerun hides no measurement. A superseded run is
deleted (MLflow keeps it in its bin) only after its successor is complete.

Nothing reaches the store with a secret: what an earlier version recorded is masked on the way, and stays on disk.

Only a VALID run has MLflow's status FINISHED, which its pages show as a green tick. INVALID and FAILED runs have the
status FAILED; the tag vbench.validity tells which.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from vbench.schema.record import RECORD, REQUESTS, SERVER_LOGS, TELEMETRY, Record
from vbench.schema.redaction import redact_file
from vbench.schema.series import Series
from vbench.tracking import digest
from vbench.tracking.curves import Point, points
from vbench.tracking.failures import UnreadableRecord, first_line, store_errors
from vbench.tracking.mapping import Row, flatten, replace_surrogates
from vbench.tracking.opening import connect, experiment_id, hold_lock
from vbench.tracking.place import database
from vbench.tracking.rederived import complete_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY = "vbench.run_key"
DIGEST = "vbench.record"
VERDICT = "vbench.validity"
DERIVED = "vbench.bound_"  # tags that follow from metrics
VERDICT_RANK = ("FAILED", "INVALID", "VALID")
STATUS = {"VALID": "FINISHED", "INVALID": "FAILED", "FAILED": "FAILED"}  # MLflow ticks what FINISHED green
PER_CALL = 100  # parameters and tags that MLflow accepts in one call
METRICS_PER_CALL = 800  # MLflow accepts 1000 of all three


@dataclass(frozen=True)
class Filed:
    """Where a record is filed; `new` is False if it, or a better one of its key, was there before."""

    run_id: str
    experiment: str  # its name
    new: bool


@dataclass(frozen=True)
class _Entry:
    """A record ready to be filed; times in milliseconds since 1970, as in MLflow."""

    record: Record
    columns: Row
    points: list[Point]
    digest: str
    started_ms: int
    ended_ms: int
    artifacts: tuple[Path, ...]


def deliver(folder: Path) -> Filed:
    """Files the folder's record unless the store has it. Raises TrackingFailed, UnreadableRecord."""
    entry = _read(folder)
    with store_errors(f"cannot file {folder}"), hold_lock("file"):
        client = connect()
        experiment = experiment_id(client, entry.record.experiment)
        runs = _runs(client, experiment, entry)
        standing = _find_better_run(runs, entry)
        new = standing is None
        if standing is None:
            standing = _write(client, experiment, entry)
            if database() is None:  # a server has no lock: two processes that file at once thus keep the same run
                runs = _runs(client, experiment, entry)
                standing = _find_better_run(runs, entry) or standing
        for run in runs:
            if run.info.run_id != standing:
                client.delete_run(run.info.run_id)
            else:
                _correct_status(client, run)
                _add_missing(client, run, entry)
        return Filed(standing, entry.record.experiment, new)


def _read(folder: Path) -> _Entry:
    try:
        record = complete_metrics(Record.load(folder).without_secrets(), folder)
        return _Entry(
            record=record,
            columns=flatten(record),
            points=_points(folder),
            digest=digest(folder),
            started_ms=_milliseconds(record.started_at),
            ended_ms=_milliseconds(record.ended_at),
            artifacts=tuple(_artifacts(folder)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UnreadableRecord(f"{folder / RECORD}: {type(error).__name__}: {first_line(error)}") from error


def _points(folder: Path) -> list[Point]:
    path = folder / TELEMETRY
    return points(Series.load(path)) if path.is_file() else []


def _artifacts(folder: Path) -> Iterable[Path]:
    yield from (path for path in (folder / name for name in (RECORD, REQUESTS, TELEMETRY)) if path.is_file())
    logs = [sorted(place.glob(SERVER_LOGS)) for place in (folder, folder.parent)]
    yield from logs[0] or logs[1]


def _milliseconds(moment: str) -> int:
    # Python 3.10 does not parse the Z of ISO 8601.
    return round(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1e3)


def _runs(client: MlflowClient, experiment: str, entry: _Entry) -> list[Run]:
    return list(client.search_runs([experiment], f"tags.`{KEY}` = '{entry.record.run_key}'"))


def _find_better_run(runs: list[Run], entry: _Entry) -> str | None:
    """A complete run of the same or a better record, which makes filing the entry unnecessary."""
    own = _rank(entry.record.verdict, entry.started_ms)
    good = []
    for run in filter(_is_complete, runs):
        rank = _rank(run.data.tags[VERDICT], run.info.start_time)
        # A run with the same start is an earlier computation of this record, whatever its rank.
        better = rank > own and run.info.start_time != entry.started_ms
        if better or run.data.tags[DIGEST] == entry.digest:
            good.append((rank, str(run.info.run_id)))
    return max(good)[1] if good else None


def _is_complete(run: Run) -> bool:
    """Whether a run of ours tells what it holds. One that was left while filing does not, nor one that lost a tag."""
    return run.info.status != "RUNNING" and DIGEST in run.data.tags and run.data.tags.get(VERDICT) in STATUS


def _correct_status(client: MlflowClient, run: Run) -> None:
    """Gives a run the status of its verdict: earlier versions filed INVALID runs as FINISHED."""
    status = STATUS[run.data.tags[VERDICT]] if _is_complete(run) else run.info.status
    if run.info.status != status:
        client.set_terminated(run.info.run_id, status, end_time=run.info.end_time)


def _add_missing(client: MlflowClient, run: Run, entry: _Entry) -> None:
    """Gives a run of this record the metrics and tags that earlier versions did not derive from it."""
    if run.data.tags.get(DIGEST) != entry.digest or run.info.status == "RUNNING":
        return
    from mlflow.entities import Metric, RunTag  # as in _log

    metrics = {key: value for key, value in entry.columns.metrics.items() if key not in run.data.metrics}
    derived = {key: value for key, value in entry.columns.tags.items() if key.startswith(DERIVED)}
    tags = {key: value for key, value in derived.items() if run.data.tags.get(key) != value}
    if metrics or tags:
        client.log_batch(
            run.info.run_id,
            [Metric(key, value, entry.ended_ms, 0) for key, value in metrics.items()],
            [],
            [RunTag(key, value) for key, value in tags.items()],
        )


def _rank(verdict: str, started_ms: int) -> tuple[int, int]:
    """Sort key: of two records of one run key, the better verdict is kept, then the later start."""
    return VERDICT_RANK.index(verdict), started_ms


def _write(client: MlflowClient, experiment: str, entry: _Entry) -> str:
    record = entry.record
    run = client.create_run(
        experiment,
        start_time=entry.started_ms,
        tags={KEY: record.run_key, DIGEST: entry.digest},
        run_name=replace_surrogates(record.name),
    )
    run_id = str(run.info.run_id)
    with _masked(entry.artifacts) as paths:
        attach(client, run, paths)
    _log(client, run_id, entry)
    client.set_terminated(run_id, STATUS[record.verdict], end_time=entry.ended_ms)
    return run_id


@contextmanager
def _masked(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """The files for the block: of one with a secret a masked copy."""
    with tempfile.TemporaryDirectory(prefix="vbench-filing-") as folder:
        yield [_mask(path, Path(folder)) for path in paths]


def _mask(path: Path, folder: Path) -> Path:
    data = path.read_bytes()
    masked = redact_file(path.name, data)
    if masked == data:
        return path
    copy = folder / path.name
    copy.write_bytes(masked)
    return copy


def attach(client: MlflowClient, run: Run, paths: Iterable[Path]) -> None:
    """Attaches the files to the run as artifacts."""
    uri = urlparse(run.info.artifact_uri)
    for path in paths:
        if uri.scheme == "file":  # copied directly: MLflow needs five milliseconds a file
            target = Path(url2pathname(uri.path))
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.name)
        else:
            client.log_artifact(run.info.run_id, str(path))


def _log(client: MlflowClient, run_id: str, entry: _Entry) -> None:
    from mlflow.entities import Metric, Param, RunTag  # takes over a second, and only tracking needs it

    metrics = [Metric(key, value, entry.ended_ms, 0) for key, value in entry.columns.metrics.items()]
    params = [Param(key, value) for key, value in entry.columns.params.items()]
    tags = [RunTag(key, value) for key, value in entry.columns.tags.items()]
    metrics += [Metric(*point) for point in entry.points]
    turns = max(-(-len(metrics) // METRICS_PER_CALL), -(-max(len(params), len(tags)) // PER_CALL))
    for turn in range(turns):
        few, many = (slice(turn * size, (turn + 1) * size) for size in (PER_CALL, METRICS_PER_CALL))
        client.log_batch(run_id, metrics[many], params[few], tags[few])
