"""Runs grouped into sessions: what needs the same server shares it, round by round, smallest load first. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from vbench import prompts
from vbench.config import Engine, Hardware, Launcher, Lengths, Model, Parallelism, RunConfig, plain

LABELS = {"experiment", "rerun", "launcher"}  # of a RunConfig: they shape no result
SURROUNDINGS = {"slurm", "price_per_hour", "start_timeout_s"}  # of its parts, likewise


@dataclass(frozen=True)
class Run:
    """One point of a session."""

    key: str  # hash of everything that shapes the result
    name: str  # for people
    folder: str  # below the session's folder
    config: RunConfig


@dataclass(frozen=True)
class Session:
    """One lifetime of one server, or of one set of replicas, and the runs measured on it in order."""

    folder: str  # below the experiment's folder
    runs: tuple[Run, ...]

    @property
    def experiment(self) -> str:
        return self.runs[0].config.experiment

    @property
    def model(self) -> Model:
        return self.runs[0].config.model

    @property
    def hardware(self) -> Hardware:
        return self.runs[0].config.hardware

    @property
    def parallelism(self) -> Parallelism:
        return self.runs[0].config.parallelism

    @property
    def engine(self) -> Engine:
        return self.runs[0].config.engine

    @property
    def launcher(self) -> Launcher:
        return self.runs[0].config.launcher

    @property
    def attached(self) -> bool:
        """Whether its server already runs: nothing is started then, and no GPU of this host is used."""
        return self.engine.base_url is not None

    @property
    def gpus_per_replica(self) -> int:
        split = self.parallelism
        return (split.tensor_parallel_size or 1) * (split.pipeline_parallel_size or 1) if self.hardware.gpus else 0


def plan(configs: Iterable[tuple[RunConfig, str]]) -> list[Session]:
    """Sessions in the order in which their first runs were asked for; a run asked for twice stands once.

    Within a session all points are measured once, smallest load first, then all again with their next seed: a host that
    drifts meanwhile then shows as spread of every point, not as a difference between points. Each config comes with the
    version of its engine, which is part of what shapes a result.
    """
    groups: dict[str, dict[str, Run]] = {}
    for config, engine_version in configs:
        group = groups.setdefault(_hash([config.experiment, server_facts(plain(config)), engine_version]), {})
        for run in (planned(repeat, engine_version) for repeat in repeats(config)):
            group.setdefault(run.key, run)
    return [_session(key, _in_rounds([*runs.values()])) for key, runs in groups.items()]


def repeats(config: RunConfig) -> list[RunConfig]:
    """The ordinary runs that the config stands for: one a repeat, each with a seed of its own and `repeats` 1.

    A repeat is thus the same run as its point asked for with that seed.
    """
    first = config.workload
    loads = [replace(first, seed=first.seed + index, repeats=1) for index in range(first.repeats)]
    return [replace(config, workload=load) for load in loads]


def split_name(split: Parallelism) -> str:
    """`tp2`, `dp4`, `tp2dp2`, `tp8ep`; `tp1` where nothing is split."""
    sizes = (
        ("tp", split.tensor_parallel_size),
        ("pp", split.pipeline_parallel_size),
        ("dp", split.data_parallel_size),
    )
    return ("".join(f"{short}{size}" for short, size in sizes if size and size > 1) or "tp1") + (
        "ep" if split.enable_expert_parallel else ""
    )


def server_facts(config: dict[str, Any]) -> dict[str, Any]:
    """Of a run's config, as JSON holds it: what shapes its server."""
    return {key: _without(config[key], SURROUNDINGS) for key in ("model", "hardware", "parallelism", "engine")}


def planned(config: RunConfig, engine_version: str) -> Run:
    """The run of a config: its key, its name and its folder."""
    key = _hash([_shaping(config), engine_version, prompts.digest(config.workload)])
    load = _load_name(config)
    name = f"{config.model.name} · {config.system} · {split_name(config.parallelism)} · {load}"
    return Run(key=key, name=name, folder=f"{load.replace(' ', '-')}-{key[:8]}", config=config)


def _session(key: str, runs: list[Run]) -> Session:
    config = runs[0].config
    return Session(
        folder=f"{config.model.name}-{config.system}-{split_name(config.parallelism)}-{key[:8]}",
        runs=tuple(runs),
    )


def _load_name(config: RunConfig) -> str:
    load = config.workload
    if load.idle:
        return "start"
    parts = [f"n{load.num_prompts}"]
    parts += [] if math.isinf(load.request_rate) else [f"r{load.request_rate:g}"]
    parts += [f"r{load.ramp_up_start_rps:g}-{load.ramp_up_end_rps:g}"] if load.ramp_up_strategy else []
    parts += ["trace"] if load.lengths is Lengths.trace else []
    parts += [f"c{load.max_concurrency}"] if load.max_concurrency else []
    parts += [f"slo {load.search.name}"] if load.search else []
    parts += [f"s{load.seed}"] if load.seed else []
    return " ".join(parts)


def _in_rounds(runs: list[Run]) -> list[Run]:
    # A run's round is its seed's place among the seeds of its point, however these were asked for.
    seeds = defaultdict(list)
    for run in runs:
        seeds[_point(run)].append(run.config.workload.seed)
    return sorted(runs, key=lambda run: (sorted(seeds[_point(run)]).index(run.config.workload.seed), *_load(run)))


def _point(run: Run) -> str:
    return _hash(plain(replace(run.config.workload, seed=0)))


def _load(run: Run) -> tuple[float, float, int]:
    load = run.config.workload
    return min(load.num_prompts, load.max_concurrency or math.inf), load.request_rate, load.num_prompts


def _shaping(config: RunConfig) -> dict[str, Any]:
    # The whole resolved config rather than what differs from the defaults: a default that changes changes the key.
    facts: dict[str, Any] = _without(plain(config), LABELS | SURROUNDINGS)
    return facts


def _without(facts: Any, keys: set[str]) -> Any:
    if not isinstance(facts, dict):
        return facts
    return {key: _without(value, keys) for key, value in facts.items() if key not in keys}


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
