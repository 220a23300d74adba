"""Records made by hand: plausible, and with the numbers a test wants."""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import hashlib
import json
import sqlite3
import tempfile
import warnings
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vbench.plan.naming import split_name
from vbench.schema import Engine, Gpu, Hardware, Lengths, Model, Parallelism, RunConfig, Weights, Workload, to_plain
from vbench.schema.record import REQUESTS, Failure, Reason, Record, Requests
from vbench.tracking.filing import STATUS
from vbench.tracking.mapping import flatten, restore

LLAMA = Model(
    name="llama8b",
    hub_id="meta-llama/Llama-3.1-8B-Instruct",
    architecture="LlamaForCausalLM",
    model_type="llama",
    num_hidden_layers=32,
    hidden_size=4096,
    intermediate_size=14336,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=128256,
    max_position_embeddings=131072,
    rope_scaling={"factor": 8.0, "rope_type": "llama3"},
    config_json={"initializer_range": 0.02, "bos_token_id": 128000},
)
H100 = Gpu(
    name="h100",
    product="H100",
    memory_mib=81559,
    memory_bandwidth_gb_s=3350,
    bf16_tflops=989,
    fp8_tflops=1979,
    link="nvlink",
    link_gb_s=900,
)
MISSING = float("nan")  # a parameter that a run has not


def record(
    *,
    model: str = "llama8b",
    gpus: int = 1,
    gpu: Gpu = H100,
    tp: int = 1,
    dp: int = 1,
    num_prompts: int = 320,
    output_throughput: float = 9600.0,
    median_itl_ms: float = 20.0,
    weights: Weights = Weights.hub,
    engine_version: str = "vllm 0.26.0",
    engine: dict[str, Any] | None = None,
    workload: dict[str, Any] | None = None,
    lengths: Lengths = Lengths.sharegpt,
    experiment: str = "grid",
    started: str = "2026-11-20T10:00:00+00:00",
    ended: str = "2026-11-20T10:00:30+00:00",
    invalid: list[Reason] | None = None,
    failure: Failure | None = None,
    **changes: Any,
) -> Record:
    """A run of `gpus` times `gpu` (0: the CPU). `changes` replace fields of the record."""
    config = RunConfig(
        model=dataclasses.replace(LLAMA, name=model),
        hardware=Hardware(gpus=gpus, gpu=gpu if gpus else None),
        parallelism=Parallelism(tensor_parallel_size=tp, data_parallel_size=dp),
        engine=Engine(weights=weights, **(engine or {})),
        workload=Workload(num_prompts=num_prompts, lengths=lengths, **(workload or {})),
        experiment=experiment,
    )
    shaping = to_plain(config) | {"experiment": "", "engine_version": engine_version}
    found = Record(
        run_key=hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16],
        session=f"{model}-{config.hardware.name}-{split_name(config.parallelism)}",
        name=f"{model} · {config.hardware.name} · {split_name(config.parallelism)} · n{num_prompts}",
        experiment=experiment,
        started_at=started,
        ended_at=ended,
        config=to_plain(config),
        environment={
            "vbench": "0.1.0",
            "engine": engine_version,
            "host": "node1",
            "cpu": "EPYC 9654",
            "gpus": [f"NVIDIA {gpu.product}"] * gpus,
            "driver": "570.1" if gpus else None,
        },
        server={} if failure else {"start_s": 42.5, "version": engine_version, "max_model_len": 2000},
        metrics={} if failure or not num_prompts else measured(num_prompts, output_throughput, median_itl_ms),
        invalid=invalid or [],
        failure=failure,
    )
    return dataclasses.replace(found, **changes)


def table(found: list[Record]) -> pd.DataFrame:
    """What `tracking.query` gives of the records once they are filed."""
    rows = [flatten(each) for each in found]
    keys = dict.fromkeys(key for row in rows for key in row.params)
    params = {f"params.{key}": _restored(key, tuple(row.params.get(key, MISSING) for row in rows)) for key in keys}
    about = {
        "run_id": [f"run{index}" for index in range(len(found))],
        "run_name": [each.name for each in found],
        "experiment": [each.experiment for each in found],
        "start_time": pd.to_datetime([each.started_at for each in found], utc=True, format="ISO8601"),
        "status": [STATUS[each.verdict] for each in found],
        "tags.vbench.run_key": [each.run_key for each in found],
    }
    tags = pd.DataFrame(
        [row.tags for row in rows], columns=sorted({"vbench.parent"}.union(*(row.tags for row in rows)))
    )
    return pd.concat(
        [
            pd.DataFrame(about),
            pd.DataFrame(params),
            pd.DataFrame([row.metrics for row in rows]).add_prefix("metrics."),
            tags.add_prefix("tags."),
        ],
        axis=1,
    )


@functools.cache
def _restored(key: str, values: tuple[Any, ...]) -> pd.Series:
    """A parameter's column; most are the same in all tables of the tests."""
    return restore(key, pd.Series(values, dtype=object))


def measured(num_prompts: int, output_throughput: float, median_itl_ms: float) -> dict[str, float]:
    """A whole set of metrics around the two that matter."""
    output = 200.0 * num_prompts
    duration = output / output_throughput
    found = {
        "completed": num_prompts,
        "failed": 0,
        "duration": duration,
        "total_input_tokens": 220 * num_prompts,
        "total_output_tokens": output,
        "request_throughput": num_prompts / duration,
        "output_throughput": output_throughput,
        "total_token_throughput": output_throughput * 2.1,
        "peak_concurrent_requests": num_prompts,
    }
    middles = {"ttft": 8 * median_itl_ms, "tpot": median_itl_ms, "itl": median_itl_ms, "e2el": 210 * median_itl_ms}
    shapes = {"mean": 1.04, "median": 1.0, "std": 0.2, "p90": 1.3, "p95": 1.5, "p99": 2.1}
    return found | {
        f"{shape}_{name}_ms": middle * factor for name, middle in middles.items() for shape, factor in shapes.items()
    }


def saved(found: Record, root: Path) -> Path:
    """The record's run folder below `root`, as a session leaves it: with raw samples and the server's log."""
    session = root / found.experiment / found.session
    load = found.config["workload"]["num_prompts"]
    folder = session / f"n{load}-{found.run_key[:8]}-{found.started_at[11:16].replace(':', '')}"
    folder.mkdir(parents=True, exist_ok=True)
    found.save(folder)
    requests().save(folder / REQUESTS)
    (session / "server.log").write_text("INFO: Application startup complete.\n")
    return folder


def empty_store(root: Path) -> Path:
    """A local store below `root`, copied from one made once: MLflow takes two seconds to create its tables."""
    return copy_store(_template(), root)


def copy_store(store: Path, root: Path) -> Path:
    """A copy of the store below `root`, where a command that runs there looks for it."""
    path = root / "mlruns" / "mlflow.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    return path


@functools.cache
def _template() -> Path:
    """An empty store of the installed version of MLflow and Alembic, which all test processes of the checkout share."""
    versions = "-".join(version(each) for each in ("mlflow", "alembic", "sqlalchemy"))
    path = Path(__file__).parents[1] / ".pytest_cache" / f"store-{versions}" / "mlflow.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make_store(path)
    return path


def _make_store(path: Path) -> None:
    from vbench.tracking.opening import connect

    with (
        tempfile.TemporaryDirectory(prefix="vbench-store-") as folder,
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # MLflow's own
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        connect()
        partial = path.with_suffix(".new")
        with closing(sqlite3.connect(f"{folder}/mlflow.db")) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        partial.replace(path)


def requests() -> Requests:
    """Two requests of two chunks each."""
    ones, two = np.ones(2), np.full(2, 2)
    return Requests(
        scheduled=0 * ones,
        sent=0 * ones,
        first_byte=ones,
        finished=2 * ones,
        input_tokens=two,
        asked_tokens=two,
        output_tokens=two,
        status=np.full(2, 200),
        replica=0 * two,
        finish_reason=np.array(["length", "length"]),
        error=np.array(["", ""]),
        offsets=np.array([0, 2, 4]),
        chunk_times=np.array([1.0, 2.0, 1.0, 2.0]),
        chunk_tokens=np.ones(4, dtype=int),
    )


def lacks(row: dict[str, Any], *columns: str) -> bool:
    """Whether a row of `tracking.query` has no value in any of the columns."""
    return all(pd.isna(row.get(column)) for column in columns)
