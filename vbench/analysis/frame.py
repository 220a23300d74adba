"""From the query's table to the runs that analysis speaks of. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vbench.analysis.axes import AXES

SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
NAMES = {
    "params.model.name": "model",
    "params.hardware.name": "hardware",
    "params.hardware.gpus": "gpus",
    "params.parallelism.name": "parallelism",
    "params.workload.num_prompts": "num_prompts",
    "tags.vbench.run_key": "run_key",
    "tags.vbench.validity": "verdict",
    "tags.vbench.failure": "failure",
    "tags.vbench.reasons": "reasons",
    "tags.vbench.gpu": "gpu",
    "tags.vbench.cpu": "cpu",
    "tags.vbench.engine_version": "engine_version",
    "tags.vbench.source": "source",
    "tags.vbench.parent": "parent",
    "params.workload.search": "search",
    **{f"params.parallelism.{size}": size for size in SIZES},
    "tags.env.vbench": "vbench",
    "tags.env.held_since": "held_since",
    "tags.vbench.session": "session",
}
FACTS = (
    "device",
    "engine_version",
    "source",
)  # found, not asked for: where a run lacks one it is unknown, not different
UNKNOWN = "unknown"  # an imported run may not say on what it ran
PRICE = "hardware.gpu.price_per_hour"
NOT_SHAPING = {"seed", "repeats", "start_timeout_s"}  # seeds differ by design: what differs in nothing else repeats
RUN = ["run_id", "run_name", "experiment", "start_time", "status"]
METRICS = tuple(axis.key for axis in AXES)
LENGTH, LIMIT, LENGTHS = "engine.max_model_len", "model.max_position_embeddings", "workload.lengths"
FITTED, TOKENS, REQUESTS = "server.max_model_len", "server.kv_cache_tokens", "server.full_context_requests"
START = "server.start_s"
WORDS = (*NAMES.values(), LENGTH, LENGTHS)  # these and the numbers are there even where no run has them
NUMBERS = (*METRICS, "duration", LIMIT, FITTED, TOKENS, REQUESTS, START)


@dataclass(frozen=True)
class Runs:
    """One row a run. Columns: RUN, the names of NAMES, `device`, dotted config paths, bare metric keys."""

    valid: pd.DataFrame  # under a load of their own
    starts: pd.DataFrame  # VALID runs that sent nothing
    searches: pd.DataFrame  # VALID searches for the highest load within an SLO; their probes are in none of these
    left_out: pd.DataFrame  # INVALID and FAILED, where no VALID run of the same key took their place
    conditions: tuple[str, ...]  # columns that shape a result and are neither model, hardware, parallelism nor load
    foreign: int  # runs in the store that are not vbench's
    baseline: Runs | None = None  # what they are compared with

    @property
    def all(self) -> pd.DataFrame:
        return _joined(self.valid, self.starts, self.searches, self.left_out)

    @property
    def used(self) -> pd.DataFrame:
        """What is VALID."""
        return _joined(self.valid, self.starts, self.searches)

    @property
    def loaded(self) -> pd.DataFrame:
        """What was, or was to be, measured under a load of its own; VALID or not."""
        left_out = self.left_out[self.left_out["search"].isna() & ~_idle(self.left_out)]
        return _joined(self.valid, left_out)


def runs(table: pd.DataFrame, prices: Mapping[str, float] | None = None) -> Runs:
    """The latest VALID run of each run key, and apart from them what was left out. Takes `tracking.query`'s table.

    `prices` are $ an hour by the name of the GPU; they go before what a run recorded.
    """
    named = _derived(_named(table), prices or {})
    whole = named["verdict"].notna() & (named["status"] != "RUNNING") & named["parent"].isna()
    ours = named[whole].sort_values("start_time", ascending=False)
    valid = ours[ours["verdict"] == "VALID"].drop_duplicates("run_key")
    left_out = ours[~ours["run_key"].isin(valid["run_key"])].drop_duplicates("run_key")
    searched, idle = valid["search"].notna(), _idle(valid)
    return Runs(
        valid=valid[~searched & ~idle].reset_index(drop=True),
        starts=valid[idle].reset_index(drop=True),
        searches=valid[searched].reset_index(drop=True),
        left_out=left_out.reset_index(drop=True),
        conditions=tuple(_conditions(named)),
        foreign=int((named["verdict"].isna()).sum()),
    )


def plain(value: Any) -> str:
    """A condition's value in words: missing is "", 2000.0 is 2000."""
    if value is None or value != value:  # noqa: PLR0124  NaN
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _named(table: pd.DataFrame) -> pd.DataFrame:
    chosen = {column: name for column, name in NAMES.items() if column in table}
    taken = {*NAMES.values(), "device"}
    for prefix in ("params.", "metrics."):  # parameters keep their dotted path, metrics their key
        for column in table.columns[table.columns.str.startswith(prefix)]:
            short = column.removeprefix(prefix)
            if column not in chosen and short not in taken and short not in table:
                chosen[column] = short
    named = table[[*RUN, *chosen]].rename(columns=chosen)
    named = named.assign(**{name: named[name].fillna(UNKNOWN) for name in ("hardware", "parallelism") if name in named})
    lacking = dict.fromkeys(WORDS) | dict.fromkeys(NUMBERS, math.nan)
    return named.assign(**{name: value for name, value in lacking.items() if name not in named})


def _derived(named: pd.DataFrame, prices: Mapping[str, float]) -> pd.DataFrame:
    """With what follows from the columns: the kind of GPU, the device, and the metrics a GPU and a dollar."""
    kind = named["hardware"].astype("string").str.replace(r"^\d+x", "", regex=True).astype(object)
    kind = kind.where(named["hardware"].notna(), None)
    recorded = named[PRICE] if PRICE in named else pd.Series(math.nan, index=named.index)
    dollars = kind.map(prices).astype(float).fillna(pd.to_numeric(recorded, errors="coerce")) * named["gpus"] / 3600
    throughput, gpus = named["output_throughput"], pd.to_numeric(named["gpus"], errors="coerce")
    return named.assign(
        device=named["gpu"].where(named["gpu"].notna(), named["cpu"]),
        gpu_type=kind,
        output_throughput_per_gpu=throughput / gpus.where(gpus > 0),
        dollars_per_million_tokens=dollars / throughput * 1e6,
    )


def _idle(rows: pd.DataFrame) -> pd.Series:
    return rows[LENGTHS] == "none"


def _joined(*parts: pd.DataFrame) -> pd.DataFrame:
    kept = [each for each in parts if len(each)]
    return pd.concat(kept, ignore_index=True) if kept else parts[0]


def _conditions(named: pd.DataFrame) -> list[str]:
    asked = [column for column in named if column.startswith(("model.", "engine.", "workload."))]
    return [*FACTS, *(column for column in asked if NOT_SHAPING.isdisjoint(column.split(".")))]
