"""The story of a sizing: rank the systems by what is known, measure what may change the answer, rank again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vbench.campaign import story
from vbench.campaign.jobs import NAMES, backend
from vbench.campaign.planning.evidence import read_records
from vbench.campaign.planning.size_table import describe, show_systems
from vbench.campaign.planning.size_words import explain
from vbench.campaign.planning.spending import count_spent_seconds
from vbench.campaign.tasklist import ROOT
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.forecast.performance import name_system
from vbench.plan.forecast.starts import Start, estimate_rehearsal, estimate_start, read_starts
from vbench.plan.reach.predictor import Predictor
from vbench.plan.rules import check_run
from vbench.plan.search_rules import check_search
from vbench.plan.sessions import Run, Session
from vbench.plan.sizing.capacity import LIKELY, CapacityPredictor, find_measured
from vbench.plan.sizing.choice import choose_next
from vbench.plan.sizing.misfits import find_misfit
from vbench.plan.sizing.systems import System, rank
from vbench.schema import Lengths, RunConfig, Search, from_plain
from vbench.schema.errors import Refused
from vbench.schema.record import Record, atomic
from vbench.workload.prompts import lengths

UNKNOWN = Estimate(0.0, 0.0, math.inf, Basis.assumed, "its capacity cannot be predicted; measure=true measures it")
SEARCH_S = 600.0  # what a search may take, in the budget before it is measured


@dataclass(frozen=True)
class Candidate:
    """One kind of replica, and what is known of its systems."""

    config: RunConfig
    system: System


class Sizing:
    """A load, and the kinds of replicas to choose from."""

    def __init__(self, configs: Sequence[RunConfig], rate: float, prices: Mapping[str, float]) -> None:
        if not 0 < rate < math.inf:
            raise Refused(f"rate={rate}: must be requests a second, above 0")
        self._rate, self._prices = rate, prices
        self._configs = _keep_possible(configs)
        for gpu, price in prices.items():
            if not 0 < price < math.inf:
                raise Refused(f"prices: {gpu}: {price}: must be $ an hour, above 0")
        _check_priced_alike(self._configs, prices)
        self._predictor = CapacityPredictor(Predictor.default())

    def carry_out(self, launcher: str | None, budget_gpu_hours: float | None) -> int:
        """Ranks, measures if `launcher` names where, writes and prints the answer. Returns the exit code."""
        told = "not measured: measure=true measures what may change the answer"
        if launcher is not None:
            if launcher not in NAMES:
                raise Refused(f"hydra/launcher={launcher}: measurements run on {', '.join(NAMES)}")
            if self._configs[0].launcher.detach:
                raise Refused("launcher.detach=true: measure=true waits for each session; leave it out")
            check_search(_make_search(self._configs[0]).workload)
            told = self.measure(budget_gpu_hours, lambda search: story.carry_out([search], backend(launcher)))
        found = self._rank(read_records())
        path, systems, tokens = self._write(found), [each.system for each in found], self._mean_tokens()
        lines = [*show_systems(systems, tokens), "", *explain(found[0].config, systems, tokens)]
        print("\n".join([*lines, told, f"written: {path}"]))  # noqa: T201
        return 0 if math.isfinite(found[0].system.cost) else 1

    def measure(self, budget_gpu_hours: float | None, search: Callable[[RunConfig], int]) -> str:
        """Measures one system after the other by `search`, a campaign of one run; returns why it stopped.

        Raises KeyboardInterrupt if the user ended the search, or left it to go on by itself.
        """
        tried = set[str]()
        while True:
            records = read_records()
            starts = read_starts(records)
            found = [_add_session(each, starts, tried) for each in self._rank(records)]
            chosen = choose_next([each.system for each in found])
            if chosen is None:
                return _explain_end([each.system for each in found])
            (config,) = [each.config for each in found if each.system is chosen]
            spent, needed = self._count_spent(records), chosen.gpu_s / 3600
            if budget_gpu_hours is not None and spent + needed > budget_gpu_hours:
                return (
                    f"the budget is spent: {spent:.2f} of {budget_gpu_hours:g} GPU hours, and the next session "
                    f"({chosen.split}x{chosen.gpu}) may take {needed:.2f}"
                )
            print(f"measuring {chosen.split}x{chosen.gpu}: it should settle most for its GPU hours")  # noqa: T201
            if search(_make_search(config)) == story.INTERRUPTED:
                raise KeyboardInterrupt
            tried.add(name_system(config))

    def _rank(self, records: Sequence[Record]) -> list[Candidate]:
        made = []
        for config in self._configs:
            gpu = config.hardware.gpu
            assert gpu is not None
            known = find_measured(config, records) or find_misfit(config)
            capacity = known or self._predictor.predict(config) or UNKNOWN
            likely = None if known else self._predictor.predict(config, LIKELY)
            price = self._prices.get(gpu.name, gpu.price_per_hour)
            system = System(gpu.name, config.hardware.gpus, capacity, self._rate, price, likely=likely)
            made.append(Candidate(config, system))
        order = rank([each.system for each in made])
        return sorted(made, key=lambda each: [system is each.system for system in order].index(True))

    def _count_spent(self, records: Sequence[Record]) -> float:
        """GPU hours that searches of these systems have taken, interrupted ones included."""
        ours = {name_system(config): config.hardware.gpus for config in self._configs}
        found: dict[str, list[Record]] = {name: [] for name in ours}
        for record in records:
            load = record.config["workload"]
            if not (load.get("search") or record.parent):
                continue
            try:
                config = from_plain(RunConfig, record.config)
            except KeyError:  # of another version, or of a model that is unknown
                continue
            if name_system(config) in ours and config.workload.slo == self._configs[0].workload.slo:
                found[name_system(config)].append(record)
        return sum(count_spent_seconds(each) * ours[name] for name, each in found.items()) / 3600

    def _mean_tokens(self) -> tuple[float, float]:
        """Mean prompt and reply tokens of a request."""
        prompts, replies = lengths(replace(self._configs[0].workload, num_prompts=1280)).mean(axis=0)
        return float(prompts), float(replies)

    def _write(self, found: Sequence[Candidate]) -> Path:
        folder = ROOT / self._configs[0].experiment / "size"
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(folder / "size.json") as partial:
            partial.write_text(
                json.dumps(describe([each.system for each in found], self._mean_tokens()), indent=1) + "\n"
            )
        return folder / "size.json"


def _check_priced_alike(configs: Sequence[RunConfig], prices: Mapping[str, float]) -> None:
    """Raises Refused if some GPUs have a price and others have none: dollars and GPUs cannot be ranked together."""
    gpus = {each.hardware.gpu.name: each.hardware.gpu for each in configs if each.hardware.gpu}
    free = [name for name, gpu in gpus.items() if prices.get(name, gpu.price_per_hour) is None]
    if free and len(free) < len(gpus):
        raise Refused(f"prices: {free[0]} has none and others have; add {free[0]}: $ an hour, or name no prices at all")


def _explain_end(systems: Sequence[System]) -> str:
    """Why nothing is left to measure."""
    left = choose_next([replace(each, tried=False) for each in systems])
    if left is not None:
        return f"{left.split}x{left.gpu} could not be measured; rerun=invalid or rerun=failed tries it again"
    if math.isinf(systems[0].cost):
        return "no system bears the load within the SLO"
    predicted = [each for each in systems if each.capacity.basis is Basis.predicted]
    rivals = [each for each in predicted if each.least_cost < systems[0].cost]
    if not rivals:
        return "the winner is certain: no other system can be cheaper, by what is known of it"
    named = ", ".join(f"{each.split}x{each.gpu}" for each in rivals)
    return (
        f"the winner is settled: {named} would be cheaper only beyond the likely range of its capacity (docs/sizing.md)"
    )


def _keep_possible(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The configs that can be run: a split may not divide the heads. Raises Refused if none can."""
    kept, why = [], "no system to choose from"
    for config in configs:
        try:
            checked = check_run(config)
        except Refused as refused:
            why = str(refused)
            continue
        if checked.hardware.gpu is None or checked.engine.base_url is not None:
            raise Refused("hardware: name GPUs, as hardware=1xh100,2xh100 or 'prices={h100: 2.5}'")
        if not checked.workload.slo.limits:
            raise Refused("slo: name objectives in ms, as 'slo={ttft_ms: 500, tpot_ms: 50}'")
        if checked.workload.lengths is not Lengths.trace:  # of which no rate is searched, but one is predicted
            check_search(_make_search(checked).workload)
        kept.append(checked)
    if not kept:
        raise Refused(why)
    return kept


def _add_session(found: Candidate, starts: Sequence[Start], tried: Container[str]) -> Candidate:
    """The same, with how long a search on the system may take, and whether one was tried without a result."""
    session = Session("", (Run("", "", "", found.config),))
    seconds = estimate_start(session, starts).value + estimate_rehearsal(session, starts).value + SEARCH_S
    return replace(found, system=replace(found.system, session_s=seconds, tried=name_system(found.config) in tried))


def _make_search(config: RunConfig) -> RunConfig:
    """The search that measures the capacity of this system."""
    return replace(config, workload=replace(config.workload, search=Search.request_rate, request_rate=math.inf))
