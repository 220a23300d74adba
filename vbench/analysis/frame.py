"""The query's table to the runs that comparisons work with. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vbench.analysis.axes import AXES
from vbench.analysis.hosts import HOST, add_hosts, add_speed, join_columns
from vbench.analysis.loads import leave_out_unused
from vbench.analysis.precision import add_precision
from vbench.plan import positions
from vbench.tracking.mapping import COLUMN_NAMES

ENGINES = "attention_data_parallel_size"  # records older than this key had one engine a server
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", ENGINES, "data_parallel_size")
# Found, not asked for: a run without one is unknown, not different.
FACTS = (
    "device",
    "engine_version",
    "source",
    "host_cpu",
    "driver",
    "torch",
    "python",
    "kernel",
    "config_json",
    "prompts",
    HOST,
)
ALONE = "launcher.exclusive"  # whether the session had the whole host
METADATA = "imported."  # what the file of an imported run says of itself; absent is a value
METADATA_TAGS = ("tags.env.backend", "tags.env.label", "tags.env.metadata.")
TOKENS_IN, TOKENS_OUT = f"{METADATA}input_len", f"{METADATA}output_len"
SAME_LENGTH = 1.1  # repeats of one workload draw other prompts: mean lengths within 10 % count as one
NO_WORDS = "[]"  # a list without words says what its absence says; records of earlier versions lack newer ones
UNKNOWN = "unknown"  # an imported run may not say what it ran on
PRICE = "hardware.gpu.price_per_hour"
ADDRESS = "engine.base_url"
# Runs that differ only in these are repeats.
NOT_SHAPING = {"seed", "repeats", "restart", "restarts", "start_timeout_s"}
RUN = ["run_id", "run_name", "experiment", "start_time", "status"]
KEY = ["experiment", "run_key"]  # two campaigns that measure the same point both count
METRICS = tuple(axis.key for axis in AXES)
LENGTH, LIMIT, LENGTHS = "engine.max_model_len", "model.max_position_embeddings", "workload.lengths"
FITTED, TOKENS, REQUESTS = "server.max_model_len", "server.kv_cache_tokens", "server.full_context_requests"
CACHE_GIB = "server.kv_cache_gib"
START, ROPE = "server.start_s", "model.rope_scaling."
WORDS = (*COLUMN_NAMES.values(), LENGTH, LENGTHS)  # these columns and NUMBERS exist even if no run has them
NUMBERS = (
    *METRICS,
    "duration",
    "completed",
    "total_input_tokens",
    "total_output_tokens",
    LIMIT,
    FITTED,
    CACHE_GIB,
    TOKENS,
    REQUESTS,
    START,
)


@dataclass(frozen=True)
class Runs:
    """One row a run. Columns: RUN, the names of COLUMN_NAMES, `device`, dotted config paths, bare metric keys."""

    valid: pd.DataFrame  # measured under a load of their own
    starts: pd.DataFrame  # VALID runs that sent nothing
    searches: pd.DataFrame  # VALID searches for the highest load within an SLO; their probes are in none of these
    left_out: pd.DataFrame  # INVALID and FAILED, unless a VALID run of the same key took their place
    superseded: pd.DataFrame  # VALID, but a later VALID run of the same experiment and key took their place
    everything: tuple[str, ...]  # columns that shape a result, other than model, hardware, parallelism and num_prompts
    conditions: tuple[str, ...]  # those of them in which any of these runs differ
    foreign: int  # runs in the store that are not vbench's
    baseline: Runs | None = None
    to_come: int = 0  # planned on this host, not measured (`vbench.analysis.unfinished`)

    @property
    def all(self) -> pd.DataFrame:
        return _concat(self.valid, self.starts, self.searches, self.left_out)

    @property
    def used_runs(self) -> pd.DataFrame:
        """The VALID runs."""
        return _concat(self.valid, self.starts, self.searches)

    @property
    def loaded_runs(self) -> pd.DataFrame:
        """The runs with a load of their own, VALID or not."""
        left_out = self.left_out[self.left_out["search"].isna() & ~_is_idle(self.left_out)]
        return _concat(self.valid, left_out)


def runs(table: pd.DataFrame, prices: Mapping[str, float] | None = None) -> Runs:
    """The latest VALID run of each experiment and run key, and separately what was left out. Takes a query's table.

    `prices` are $ an hour by the GPU's name; they take precedence over the recorded ones.
    """
    named = _add_derived(_rename(table), prices or {})
    whole = named["verdict"].notna() & (named["status"] != "RUNNING") & named["parent"].isna()
    ours = named[whole].sort_values("start_time", ascending=False).copy()  # in one piece, as below
    found = ours[ours["verdict"] == "VALID"]
    later = found[KEY].duplicated()
    valid, superseded = found[~later], found[later]
    measured_keys = pd.MultiIndex.from_frame(valid[KEY])
    unmeasured = ours[~pd.MultiIndex.from_frame(ours[KEY]).isin(measured_keys)]
    left_out = unmeasured[~unmeasured[KEY].duplicated()]
    searched, idle = valid["search"].notna(), _is_idle(valid)
    everything = _conditions(named)
    varying = find_varying(ours, everything)
    measured = add_hosts(add_lengths(valid[~searched & ~idle], varying), varying)
    made = [each for each in (TOKENS_IN, TOKENS_OUT, HOST) if measured[each].notna().any()]
    return Runs(
        valid=measured.reset_index(drop=True).copy(),  # in one piece: many columns were added one by one
        starts=valid[idle].reset_index(drop=True),
        searches=valid[searched].reset_index(drop=True),
        left_out=left_out.reset_index(drop=True),
        superseded=superseded.reset_index(drop=True),
        everything=(*everything, *made),
        conditions=(*varying, *made),
        foreign=int((named["verdict"].isna()).sum()),
    )


def find_varying(rows: pd.DataFrame, conditions: Sequence[str]) -> list[str]:
    """The conditions that do not have one and the same value in all rows; no others can tell runs apart."""
    return [each for each, column in rows[list(conditions)].items() if len(column.unique()) > 1]


def ensure_columns(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows with all of these columns; None where they had none."""
    lacking = list(dict.fromkeys(each for each in columns if each not in rows))
    empty = pd.DataFrame(None, index=rows.index, columns=lacking, dtype=object)
    whole = pd.concat([rows, empty], axis=1) if lacking else rows
    return whole.copy()  # in one piece, so that more columns may follow: pandas warns where a frame has too many parts


def value_text(value: Any) -> str:
    """A condition's value as text: a missing value is "", 2000.0 is 2000."""
    if value is None or value != value:  # noqa: PLR0124  NaN
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _rename(table: pd.DataFrame) -> pd.DataFrame:
    chosen = {column: name for column, name in COLUMN_NAMES.items() if column in table}
    taken = {*COLUMN_NAMES.values(), "device"}
    for prefix in ("params.", "metrics."):  # parameters keep their dotted path, metrics their key
        for column in table.columns[table.columns.str.startswith(prefix)]:
            short = column.removeprefix(prefix)
            if column not in chosen and short not in taken and short not in table:  # a hostile one may be both
                chosen[column] = short
                taken.add(short)
    for column in table.columns[table.columns.str.startswith(METADATA_TAGS)]:
        chosen[column] = METADATA + column.removeprefix("tags.env.")
    named = table[[*RUN, *chosen]].rename(columns=chosen)
    wanted = dict.fromkeys(WORDS) | dict.fromkeys(NUMBERS, math.nan)
    lacking = {name: value for name, value in wanted.items() if name not in named}
    named = pd.concat([named, pd.DataFrame(lacking, index=named.index)], axis=1)
    empty = [each for each in named if each.startswith("engine.") and NO_WORDS in named[each].tolist()]
    named = named.assign(**{each: named[each].mask(named[each] == NO_WORDS, None) for each in empty})
    known = {name: named[name].where(named[name].notna(), UNKNOWN) for name in ("model", "hardware", "parallelism")}
    one = named[ENGINES].isna() & named["tensor_parallel_size"].notna()
    known[ENGINES] = named[ENGINES].mask(one, 1)
    # An imported file may not say how many prompts it asked for: what was completed is the nearest to it.
    prompts = pd.to_numeric(named["num_prompts"], errors="coerce").fillna(named["completed"])
    return leave_out_unused(named.assign(**known, num_prompts=prompts))


def _add_derived(named: pd.DataFrame, prices: Mapping[str, float]) -> pd.DataFrame:
    """Adds the kind of GPU, the device, and the metrics for each GPU and dollar."""
    kind = named["hardware"].astype("string").str.replace(r"^\d+x", "", regex=True).astype(object)
    kind = kind.where(named["hardware"].notna(), None)
    recorded = named[PRICE] if PRICE in named else pd.Series(math.nan, index=named.index)
    price = kind.map(prices).astype(float).fillna(pd.to_numeric(recorded, errors="coerce"))
    dollars = price.where(~_has_several(price, kind)) * named["gpus"] / 3600
    if "model.rope_scaling.factor" in named:
        named = named.assign(**{LIMIT: _longest_contexts(named)})
    throughput, gpus = named["output_throughput"], pd.to_numeric(named["gpus"], errors="coerce")
    return add_precision(add_speed(named)).assign(
        device=named["gpu"].where(named["gpu"].notna(), named["cpu"]),
        host_cpu=named["cpu"].where(named["gpu"].notna(), None),  # of a run on the CPU it is the device
        server=_servers(named),
        gpu_type=kind,
        dollars_per_gpu_hour=price,
        output_throughput_per_gpu=throughput / gpus.where(gpus > 0),
        users_per_gpu=_users(named) / gpus.where(gpus > 0),
        users_per_dollar=_users(named) / (dollars * 3600).where(dollars > 0),
        dollars_per_million_tokens=dollars / throughput.where(throughput > 0) * 1e6,
    )


def _has_several(price: pd.Series, kind: pd.Series) -> pd.Series:
    """Whether the runs on that kind of GPU recorded several prices: costs at unlike prices say nothing of the runs."""
    return price.groupby(kind).transform("nunique").fillna(0) > 1


def _users(named: pd.DataFrame) -> pd.Series:
    """Sessions served at once: the answer of a search, else the mean of those in progress."""
    lacking = pd.Series(math.nan, index=named.index)
    searched, active = (named.get(key, lacking).astype(float) for key in ("slo_sessions", "mean_active_sessions"))
    return searched.fillna(active)


def _longest_contexts(named: pd.DataFrame) -> pd.Series:
    """Of each run; computed once for each set of facts, because a store has few of them and many runs."""
    columns = [LIMIT, LENGTH, "model.model_type", "engine_version", *(each for each in named if each.startswith(ROPE))]
    facts = ensure_columns(named[[each for each in columns if each in named]], columns)[columns]
    which = join_columns(facts, columns)
    longest = {which[place]: _longest_context(facts.loc[place]) for place in which.drop_duplicates().index}
    return which.map(longest)


def _longest_context(run: pd.Series) -> float:
    """Tokens of the longest context that the engine serves with the model, as `vbench.plan.positions` has it.

    With max_model_len=auto and longrope it is the original one.
    """
    scaling = run.filter(like=ROPE).rename(lambda key: key.removeprefix(ROPE)).dropna().to_dict()
    if pd.isna(run[LIMIT]) or "rope_type" not in scaling:
        return float(run[LIMIT])
    if scaling["rope_type"] == "longrope" and run[LENGTH] == "auto" and positions.ORIGINAL in scaling:
        return float(scaling[positions.ORIGINAL])
    numbers = {key: pd.to_numeric(scaling.get(key), errors="coerce") for key in ("factor", positions.ORIGINAL)}
    facts: dict[str, Any] = {key: float(value) for key, value in numbers.items() if pd.notna(value)}
    facts["rope_type"] = scaling["rope_type"]
    kind, version = (value_text(run.get(key)) for key in ("model.model_type", "engine_version"))
    return float(positions.longest(int(run[LIMIT]), facts, kind, version))


def _servers(named: pd.DataFrame) -> pd.Series:
    """Which server a run was measured on, as text: each start is one of its own. None where that is not known.

    A session that was resumed started its server again. A server that ran already may have been the same all along.
    """
    text = named["session"].astype(str) + " " + named["held_since"].fillna("").astype(str)
    address = named[ADDRESS] if ADDRESS in named else pd.Series(None, index=named.index, dtype=object)
    own = (named["source"] == "measured") & named["session"].notna()
    return text.where(address.isna(), address).where(own, None).astype(object)


def add_lengths(rows: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Adds the mean tokens in and out of imported runs where unlike workloads would otherwise look alike.

    Such files do not name their workload. Prompts are compared between all runs of a model and load, replies, which
    also depend on the system, between the runs of one point. None where all of them agree within SAME_LENGTH.
    """
    load = ["model", "num_prompts", *(each for each in conditions if each.startswith("workload."))]
    point = ["model", "hardware", "parallelism", "num_prompts", *conditions]
    lengths = {TOKENS_IN: ("total_input_tokens", load), TOKENS_OUT: ("total_output_tokens", point)}
    return rows.assign(**{column: _unlike_lengths(rows, *each) for column, each in lengths.items()})


def _unlike_lengths(rows: pd.DataFrame, total: str, by: Sequence[str]) -> pd.Series:
    found = pd.Series(None, index=rows.index, dtype=object)
    imported = rows[rows["source"] == "imported"]
    if imported.empty:
        return found
    for _, alike in imported.groupby([imported[key].map(value_text) for key in by]):
        lengths = (alike[total] / alike["completed"].where(alike["completed"] > 0)).dropna().sort_values()
        groups = (lengths / lengths.shift() > SAME_LENGTH).cumsum()
        if len(groups) and groups.iloc[-1] > 0:
            means = lengths.groupby(groups).transform("mean")
            found.update(means.map(lambda mean: f"{float(f'{mean:.2g}'):g}"))
    return found


def _is_idle(rows: pd.DataFrame) -> pd.Series:
    return rows[LENGTHS] == "none"


def _concat(*parts: pd.DataFrame) -> pd.DataFrame:
    kept = [each for each in parts if len(each)]
    return pd.concat(kept, ignore_index=True) if kept else parts[0]


def _conditions(named: pd.DataFrame) -> list[str]:
    asked = [
        column for column in named if column.startswith(("model.", "engine.", "workload.", METADATA)) or column == ALONE
    ]
    facts = [each for each in FACTS if each != HOST]
    return [*facts, *(column for column in asked if NOT_SHAPING.isdisjoint(column.split(".")))]
