"""Measures the time to file a run and to read all runs back, and compares it with plain MLflow calls.

    python benchmarks/tracking.py            a thousand runs, about two minutes
    python benchmarks/tracking.py 200        fewer

The peer does what most scripts do: `start_run`, `log_param` and `log_metric` for each key, `log_artifact` for each
file, and `search_runs` to read. Both store the same 60 parameters, 80 metrics, tags and three artifacts of each run,
each in its own SQLite store in a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from vbench import tracking  # noqa: E402  the checkout is the package
from vbench.schema.record import REQUESTS, Record  # noqa: E402

PARAMS, METRICS = 60, 80
COUNTED = 50  # of vbench's runs: the last ones, filed into a full store
PLAIN = 20  # runs filed by plain MLflow, which takes half a second for each
SAMPLES = 64_000  # of requests.npz: 320 replies of 200 tokens


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        folders = [made(Path(root) / "multirun" / "session", index) for index in range(runs)]
        use(Path(root) / "ours")
        ours = [timed(lambda folder=folder: tracking.file(folder)) for folder in folders][1:][-COUNTED:]
        read = min(timed(tracking.query) for _ in range(3))
        use_plain(tracking.store())
        searched = timed(search)
        found = len(tracking.query())
        use(Path(root) / "plain")
        use_plain(tracking.store())
        plain = [timed(lambda folder=folder: log_plainly(folder)) for folder in folders[: PLAIN + 1]][1:]

    print(f"{found} runs of {PARAMS} parameters and {METRICS} metrics\n")
    print(f"{'':28}{'vbench':>12}{'plain MLflow':>16}{'ratio':>9}")
    row("file a run, median", statistics.median(ours), statistics.median(plain), "ms", 1e3)
    row("file a run, 90th of 100", *(statistics.quantiles(each, n=10)[-1] for each in (ours, plain)), "ms", 1e3)
    row("read all runs", read, searched, "s", 1)


def row(what: str, ours: float, plain: float, unit: str, factor: float) -> None:
    print(f"{what:28}{ours * factor:9.2f} {unit:2}{plain * factor:13.2f} {unit:2}{plain / ours:8.1f}x")


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def use(folder: Path) -> None:
    folder.mkdir()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"


def made(session: Path, index: int) -> Path:
    """Makes a run folder with a record of typical size and raw samples, and its session's server log."""
    folder = session / f"n{index}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(index)
    model, load = ({f"{name}_{i}": f"value {i}" for i in range(PARAMS // 2)} for name in ("fact", "option"))
    Record(
        run_key=f"{index:016x}",
        session=session.name,
        name=f"model · 2xh100 · tp2 · n{index}",
        experiment="benchmark",
        started_at="2026-01-01T10:00:00+00:00",
        ended_at="2026-01-01T10:00:30+00:00",
        config={"model": model, "workload": load},
        environment={"engine": "vllm 0.26.0", "host": "node1", "cpu": "a CPU", "gpus": ["NVIDIA H100"] * 2},
        metrics={f"metric_{i}_ms": float(value) for i, value in enumerate(rng.gamma(2, 20, METRICS))},
    ).save(folder)
    samples, log = session / "samples.npz", session / "server.log"
    if not samples.exists():
        np.savez_compressed(samples, chunk_times=rng.random(SAMPLES), chunk_tokens=np.ones(SAMPLES, dtype=int))
        log.write_text("INFO 01-01 10:00:00 a line of the server's log\n" * 4000)
    shutil.copy(samples, folder / REQUESTS)
    return folder


def use_plain(uri: str) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri)
    if uri.endswith("plain/mlflow.db"):
        mlflow.create_experiment("benchmark", artifact_location=f"{Path(uri.removeprefix('sqlite:///')).parent}/files")
        mlflow.set_experiment("benchmark")


def log_plainly(folder: Path) -> None:
    import mlflow

    record = Record.load(folder)
    with mlflow.start_run(run_name=record.name):
        for part, facts in record.config.items():
            for key, value in facts.items():
                mlflow.log_param(f"{part}.{key}", value)
        for key, value in record.metrics.items():
            mlflow.log_metric(key, value)
        mlflow.set_tags({f"env.{key}": value for key, value in record.environment.items()})
        for path in (folder / "record.json", folder / REQUESTS, folder.parent / "server.log"):
            mlflow.log_artifact(str(path))


def search() -> object:
    import mlflow

    return mlflow.search_runs(search_all_experiments=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
