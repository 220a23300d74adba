"""Runs grouped into sessions: runs that need the same server share it, round by round, smallest load first. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vbench.plan import naming
from vbench.plan.positions import check_context
from vbench.schema import Engine, Hardware, Launcher, Model, Parallelism, RunConfig, to_plain
from vbench.workload import prompts, search

LABELS = {"experiment", "rerun", "launcher"}  # keys of a RunConfig that shape no result
# keys of its parts that shape no result
SURROUNDINGS = {"slurm", "price_per_hour", "start_timeout_s", "env_from", "weight_bytes"}

# Keys newer than published records: where they have these values, run keys are as they were.
# Those of the workload: Workload.unused.
ADDED = {"moe_routing": None, "restarts": 1, "restart": 0, "revision": None, "attention_data_parallel_size": 1}


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
    def is_external(self) -> bool:
        """Whether the server is external: none is started, and no GPU of this host is used."""
        return self.engine.base_url is not None

    @property
    def gpus_per_replica(self) -> int:
        split = self.parallelism
        each = (split.tensor_parallel_size or 1) * (split.pipeline_parallel_size or 1)
        return each * (split.attention_data_parallel_size or 1) if self.hardware.gpus else 0

    @property
    def engines_per_server(self) -> int:
        """Engines that share one server's address; of an external server it is not known, and taken to be one."""
        return 1 if self.is_external else self.parallelism.attention_data_parallel_size or 1


def plan(configs: Iterable[tuple[RunConfig, str]]) -> list[Session]:
    """Sessions in the order in which their first runs were requested; a run requested twice is planned once.

    `configs` are pairs of a config and the version of its engine, which is part of every run key. A session measures
    all its points once, smallest load first, then all again with their next seeds, so that a drifting host widens the
    spread of every point instead of setting points apart. For the same reason the first servers of all points come
    before anybody's second (`engine.restarts`). Raises Refused if this version of the engine does not serve so long a
    context with the model.
    """
    groups: dict[str, dict[str, Run]] = {}
    for config, engine_version in configs:
        check_context(config.model, config.engine.max_model_len, engine_version)
        for repeat in repeats(config):
            server = _hash([repeat.experiment, server_facts(to_plain(repeat)), engine_version])
            run = plan_run(repeat, engine_version)
            groups.setdefault(server, {}).setdefault(run.key, run)
    sessions = [_session(key, _order_in_rounds([*runs.values()])) for key, runs in groups.items()]
    return _distinguish(sorted(sessions, key=lambda session: session.engine.restart))


def repeats(config: RunConfig) -> list[RunConfig]:
    """The config's repeats as single runs, each with its own seed, `repeats` 1 and `restarts` 1.

    A repeat on the first server is thus the same run as one requested with that seed. Runs on further servers have the
    next seeds, and `restart` counts the servers.
    """
    load, engine = config.workload, config.engine
    return [
        replace(
            config,
            engine=replace(engine, restarts=1, restart=engine.restart + server),
            workload=replace(load, seed=load.seed + server * load.repeats + index, repeats=1),
        )
        for server in range(engine.restarts)
        for index in range(load.repeats)
    ]


def server_facts(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a run's config (as plain data) that shapes its server."""
    return {key: _drop_keys(config[key], SURROUNDINGS) for key in ("model", "hardware", "parallelism", "engine")}


def plan_run(config: RunConfig, engine_version: str, parent: str | None = None) -> Run:
    """The run of a config: its key, its name and its folder. `parent` is the key of the search whose probe it is."""
    facts: list[Any] = [_shaping(config), engine_version, prompts.digest(config.workload)]
    facts += [search.RECIPE] if config.workload.search else []
    key = _hash([*facts, parent] if parent else facts)
    folder = f"{naming.load_name(config).replace(' ', '-')}-{key[:8]}"
    return Run(key=key, name=naming.run_name(config), folder=folder, config=config)


def _session(key: str, runs: list[Run]) -> Session:
    config = runs[0].config
    return Session(
        folder=f"{config.model.name}-{config.system_label}-{naming.split_name(config.parallelism)}-{key[:8]}",
        runs=tuple(runs),
    )


def _distinguish(sessions: Sequence[Session]) -> list[Session]:
    """The same sessions; runs that share a name get the values in which they differ added to it."""
    alike = defaultdict(list)
    for run in (run for session in sessions for run in session.runs):
        alike[run.name].append(run)
    differ = {
        name: naming.find_differing_keys([_named_facts(run) for run in runs]) if len(runs) > 1 else set()
        for name, runs in alike.items()
    }
    return [
        replace(session, runs=tuple(replace(run, name=_distinct_name(run, differ[run.name])) for run in session.runs))
        for session in sessions
    ]


def _distinct_name(run: Run, keys: set[str]) -> str:
    return naming.add_values(run.name, _named_facts(run), keys) if keys else run.name


def _named_facts(run: Run) -> dict[str, Any]:
    return {**_shaping(run.config), "experiment": run.config.experiment}


def _order_in_rounds(runs: list[Run]) -> list[Run]:
    # A run's round is the rank of its seed among the seeds of its point, however these were requested.
    seeds = defaultdict(list)
    for run in runs:
        seeds[_point_key(run)].append(run.config.workload.seed)
    return sorted(runs, key=lambda run: (sorted(seeds[_point_key(run)]).index(run.config.workload.seed), *_load(run)))


def _point_key(run: Run) -> str:
    return _hash(to_plain(replace(run.config.workload, seed=0)))


def _load(run: Run) -> tuple[float, float, int]:
    load = run.config.workload
    return min(load.request_count, load.max_concurrency or math.inf), load.request_rate, load.request_count


def _shaping(config: RunConfig) -> dict[str, Any]:
    # The whole resolved config, not its difference from the defaults: a changed default changes the key.
    facts: dict[str, Any] = _drop_keys(to_plain(config), LABELS | SURROUNDINGS)
    for key in config.workload.unused:
        del facts["workload"][key]
    return facts


def _drop_keys(facts: Any, keys: set[str]) -> Any:
    if not isinstance(facts, dict):
        return facts
    absent = keys | {key for key, value in ADDED.items() if facts.get(key) == value}
    return {key: _drop_keys(value, keys) for key, value in facts.items() if key not in absent}


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
