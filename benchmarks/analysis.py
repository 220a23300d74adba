"""Measures the time and memory of a full report on a large store, and of `mlflow.search_runs` on the same store.

    python benchmarks/analysis.py            3,000 runs and 30,000, about three minutes
    python benchmarks/analysis.py 600        fewer, and ten times as many

The store is an SQLite file, as on a single host. It has eight models on one to eight GPUs of two kinds, with tensor and
data parallelism, eight loads and three repeats; some runs are failed or invalid. Each run has 60 parameters and
80 metrics. The report and the peer run in turns, in processes of their own. The peer is `mlflow.search_runs` alone: it
reads the same runs and compares nothing. Time and memory are of all processes that the report starts.
"""

from __future__ import annotations

import itertools
import os
import re
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from vbench.schema import Engine, Gpu, Hardware, Model, Parallelism, RunConfig, Workload, effective_config  # noqa: E402
from vbench.schema.record import Failure, Reason, Record  # noqa: E402
from vbench.tracking.mapping import Row, flatten  # noqa: E402

PARAMS, METRICS = 60, 80
FACTOR, ROUNDS, SAMPLE_S = 10, 3, 0.05
MOST_TIME, MOST_MEMORY = 0.35, 0.3  # of the peer's
MOST_GROWTH, MOST_MIB = 12.0, 1024  # of the large store's report: times the small one's seconds, and its memory
PEER = "mlflow.search_runs alone"
RUN_COLUMNS = "run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, experiment_id"
SPEED = {"a100": 1.0, "h100": 1.9}
LOADS, SEEDS = (10, 20, 40, 80, 160, 320, 640, 1280), (0, 1, 2)
SPLITS = [(1, 1, 1)] + [(n, tp, n // tp) for n in (2, 4, 8) for tp in (1, n)]
LATENCIES = {"ttft": 8.0, "tpot": 1.0, "itl": 1.0, "e2el": 210.0}
SHAPES = {"mean": 1.04, "median": 1.0, "std": 0.2, "p90": 1.3, "p95": 1.5, "p99": 2.1}


class Used(NamedTuple):
    seconds: float
    cpu_s: float
    peak_mib: float


def main(runs: int) -> None:
    small, large = f"report on {runs:,} runs", f"report on {FACTOR * runs:,} runs"
    found: dict[str, list[Used]] = {small: [], PEER: [], large: []}
    with tempfile.TemporaryDirectory() as root:
        stores = {count: store(Path(root) / str(count), count) for count in (runs, FACTOR * runs)}
        for _ in range(ROUNDS):  # in turns, so that a busy host slows all of them alike
            found[small].append(measured("report", stores[runs]))
            found[PEER].append(measured("search", stores[runs]))
        found[large].append(measured("report", stores[FACTOR * runs]))
        files = list((stores[runs] / "report").iterdir())
    figures = sum(path.suffix == ".png" for path in files)
    print(
        f"{PARAMS} parameters and {METRICS} metrics a run; {figures} figures, {len(files)} files; medians of {ROUNDS}\n"
    )
    print(f"{'':34}{'seconds':>10}{'CPU s':>10}{'peak MiB':>10}")
    middle = {
        what: Used(*(statistics.median(each) for each in zip(*rounds, strict=True))) for what, rounds in found.items()
    }
    for what, used in middle.items():
        row(what, used)
    rounds = zip(found[small], found[PEER], strict=True)
    ratios = [[one / other for one, other in zip(*each, strict=True)] for each in rounds]
    row(f"ratio to {PEER}", [statistics.median(each) for each in zip(*ratios, strict=True)], digits=2)
    print(f"{'  wanted at most':34}{MOST_TIME:10.2f}{'':10}{MOST_MEMORY:10.2f}")
    row(
        f"{FACTOR} times the runs",
        [one / other for one, other in zip(middle[large], middle[small], strict=True)],
        digits=2,
    )
    print(f"{'  wanted at most':34}{MOST_GROWTH:10.2f}{'':10}{MOST_MIB:10.0f} MiB in all")


def row(what: str, numbers: Sequence[float], digits: int = 1) -> None:
    print(f"{what:34}" + "".join(f"{number:10.{digits}f}" for number in numbers))


def store(folder: Path, runs: int) -> Path:
    """A folder with a new store of that many runs."""
    folder.mkdir()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    fill(folder / "mlflow.db", (flatten(record) for record in itertools.islice(records(), runs)))
    return folder


def measured(way: str, folder: Path) -> Used:
    """What a process that does this (`report` or `search`) and all that it starts use, its own start included."""
    address = {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    before, began, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0.0
    command = [sys.executable, __file__, way]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **address}, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, tree_mib(process.pid))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - began
    assert process.returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Used(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak)


def tree_mib(pid: int) -> float:
    """The memory of a process and of those below it; pages that they share count once."""
    try:
        kib = re.search(r"^Pss: *(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        below = [
            each for task in Path(f"/proc/{pid}/task").iterdir() for each in (task / "children").read_text().split()
        ]
    except OSError:  # it ended meanwhile
        return 0.0
    return (int(kib[1]) / 1024 if kib else 0.0) + sum(tree_mib(int(each)) for each in below)


def take(way: str) -> None:
    if way == "report":
        from vbench.analysis.__main__ import main as door

        assert door(["out=report"]) == 0
    else:
        import mlflow

        assert len(mlflow.search_runs(search_all_experiments=True, max_results=100_000))


def records() -> Iterator[Record]:
    """An endless series of runs, the same every time the benchmark runs."""
    rng = np.random.default_rng(0)
    models = [f"model{index}" for index in range(8)]
    for length in itertools.count(2000, 30_000):
        for seed, load, split, kind, (size, model) in itertools.product(
            SEEDS, LOADS, SPLITS, SPEED, enumerate(models, 1)
        ):
            yield record(rng, model, size, kind, split, load, seed, length)


def record(
    rng: Any, model: str, size: int, kind: str, split: tuple[int, int, int], load: int, seed: int, length: int
) -> Record:
    gpus, tensor, data = split
    gpu = Gpu(name=kind, product=kind, memory_mib=81559, price_per_hour=2.0)
    facts = dict.fromkeys(("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"), 4096)
    facts |= dict.fromkeys(("num_key_value_heads", "head_dim", "vocab_size"), 128)
    config = effective_config(
        RunConfig(
            model=Model(model, f"hub/{model}", "Llama", "llama", **facts, max_position_embeddings=131_072),
            hardware=Hardware(gpus=gpus, gpu=gpu),
            parallelism=Parallelism(tensor_parallel_size=tensor, data_parallel_size=data),
            engine=Engine(max_model_len=length),
            workload=Workload(num_prompts=load, seed=seed),
            experiment="benchmark",
        )
    )
    fails, late = size == 8 and gpus == 1, rng.random() < 0.01
    step, queue = 6 * size / tensor**0.7, load * size / (15 * gpus)  # of one token; the rest of the batch
    itl = (step + queue) / SPEED[kind] * rng.normal(1, 0.01)
    return Record(
        run_key=f"{rng.integers(1 << 62):016x}",
        session=f"{model}-{gpus}x{kind}",
        name=f"{model} · {gpus}x{kind} · n{load}",
        experiment="benchmark",
        started_at="2026-01-01T10:00:00+00:00",
        ended_at="2026-01-01T10:00:30+00:00",
        config=config,
        environment={"engine": "vllm 0.26.0", "host": "node1", "vbench": "0.1.0", "gpus": [kind.upper()] * gpus},
        server={} if fails else {"max_model_len": length, "kv_cache_tokens": 200_000 * gpus},
        metrics={} if fails else numbers(rng, load, itl, gpus),
        invalid=[Reason("late_client", "late")] if late and not fails else [],
        failure=Failure("oom_load", "CUDA out of memory") if fails else None,
    )


def numbers(rng: Any, load: int, itl: float, gpus: int) -> dict[str, float]:
    rate = 900 * load / itl
    found = {"output_throughput": rate, "request_throughput": rate / 200, "total_token_throughput": 2.1 * rate}
    found["output_tokens_per_joule"] = rate / (500 * gpus)
    found |= {
        f"{shape}_{name}_ms": itl * middle * factor
        for name, middle in LATENCIES.items()
        for shape, factor in SHAPES.items()
    }
    return found | {f"other_{index}": float(value) for index, value in enumerate(rng.random(METRICS - len(found)))}


def fill(database: Path, rows: Iterable[Row]) -> None:
    """Writes all runs into a new store at once (tracking.py measures filing them one by one)."""
    from vbench.tracking.opening import connect, experiment_id

    experiment = experiment_id(connect(), "benchmark")
    with closing(sqlite3.connect(database)) as store, store:
        store.execute("PRAGMA synchronous = OFF")
        for index, row in enumerate(rows):
            run, begun = uuid.UUID(int=index).hex, 1_767_261_600_000 + index * 60_000
            facts = (run, f"run {index}", "LOCAL", "benchmark", "FINISHED", begun, begun + 30_000, "active", experiment)
            insert(store, "runs", RUN_COLUMNS, [facts])
            params = dict(sorted(row.params.items(), key=lambda item: not wanted(item[0]))[:PARAMS])
            insert(store, "params", "key, value, run_uuid", [(*item, run) for item in params.items()])
            tags = row.tags | {"vbench.run_key": run}
            insert(store, "tags", "key, value, run_uuid", [(*item, run) for item in tags.items()])
            metrics = [(key, value, begun, 0, False, run) for key, value in row.metrics.items()]
            insert(store, "latest_metrics", "key, value, timestamp, step, is_nan, run_uuid", metrics)


def insert(store: sqlite3.Connection, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(columns.split(",")))
    store.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


def wanted(param: str) -> bool:
    """Whether comparisons need the parameter; others are dropped beyond PARAMS."""
    return not param.startswith(("hardware.slurm", "model.", "engine.")) or param in {
        "model.name", "engine.max_model_len", "engine.weights", "engine.command", "engine.enforce_eager",
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] in (["report"], ["search"]):
        take(sys.argv[1])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
