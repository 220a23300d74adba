"""A run that searches for the highest load within the SLO: probes on the warm servers of one session.

Each probe is a run of its own, saved with this one as its parent. A search that was interrupted goes on behind the
probes that it had measured; those that decide nothing are put aside and measured again. A probe that a compiling engine
or the client disturbed is measured again at once, as any run is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial

from vbench.metrics.goodput import meets_slo, slo_metrics
from vbench.metrics.grades import GRADES
from vbench.plan.naming import replace_load
from vbench.plan.sessions import Run, plan_run
from vbench.schema.record import REQUESTS, Reason, Record, Requests, find_record, put_aside
from vbench.session.context import Servers, SessionContext
from vbench.session.early_end import EarlyEnd
from vbench.session.measuring import RETRIES, measure, measure_until_trusted
from vbench.watch.searches import LEVEL_FORMATS
from vbench.workload.incident import find_set_aside, set_aside
from vbench.workload.levels import Probe
from vbench.workload.probe import (
    Plan,
    compute_pressure,
    is_growing,
    is_negligible,
    is_steady,
    measure_grouping,
    missed_in_one_moment,
    probe_plan,
)
from vbench.workload.prompts import draw_prompts
from vbench.workload.question import Question
from vbench.workload.search import MOST, Answer, answer, find_unproven, is_whole, next_question


async def search(context: SessionContext, servers: Servers, run: Run) -> Record:
    """Probes one level after another until the highest that meets the SLO is known; returns the search's record.

    Raises as `measure` does.
    """
    began, found = datetime.now(timezone.utc), _Progress(run)
    while question := found.next_question:
        plan = probe_plan(run.config, question, found.duration_s(question.level))
        probe = _probe_run(context, run, plan)
        earlier = find_record(context.folder / probe.folder)
        if earlier is not None and _is_decisive(context, probe, earlier):
            found.take(question, plan, earlier, _load_requests(context, probe))
            continue
        put_aside(context.folder / probe.folder)
        measured = await measure_until_trusted(
            context,
            servers,
            probe,
            partial(_measure_probe, context, servers, run, plan, probe),
            partial(_is_decisive, context, probe),
        )
        requests = _load_requests(context, probe)
        context.save(probe, found.take(question, plan, measured, requests))
    return replace(
        context.record(run, began),
        server=servers.facts,
        metrics=found.metrics,
        warnings=find_qualifying(found.best_records.values()),
        invalid=explain_untrusted(find_unproven(found.probes), found.reasons),
    )


async def _measure_probe(context: SessionContext, servers: Servers, run: Run, plan: Plan, probe: Run) -> Record:
    measured = await measure(context, servers, probe, EarlyEnd(plan), draw_prompts)
    return replace(measured, parent=run.key)


@dataclass
class _Progress:
    """What a search has found so far."""

    run: Run
    probes: list[Probe] = field(default_factory=list)
    reasons: list[tuple[float, list[Reason]]] = field(default_factory=list)  # a probe's level, and why it is INVALID
    records: list[Record] = field(default_factory=list)  # of each probe
    durations: dict[float, float] = field(default_factory=dict)  # seconds of a request, by level

    @property
    def next_question(self) -> Question | None:
        return next_question(self.probes, is_whole(self.run.config.workload.search))

    @property
    def answer(self) -> Answer:
        return answer(self.probes, is_whole(self.run.config.workload.search))

    @property
    def best_records(self) -> dict[float, Record]:
        return find_best(self.probes, self.records)

    def duration_s(self, level: float) -> float | None:
        """Seconds that a request took at the nearest level measured below this one, else above it."""
        below = [each for each in self.durations if each <= level]
        return self.durations[max(below) if below else min(self.durations)] if self.durations else None

    def take(self, question: Question, plan: Plan, record: Record, requests: Requests) -> Record:
        """Counts a probe, and returns its record with what the search made of it."""
        judged, limits = is_steady(plan, requests), plan.config.workload.slo.limits
        pressure, spread = compute_pressure(requests, judged, limits)
        probe = Probe(
            question.level,
            met=int(meets_slo(requests, limits)[judged].sum()),
            of=int(judged.sum()),
            trusted=_is_trusted(record, requests),
            saturated=_is_saturated(record, requests),
            growing=is_growing(plan, requests),
            pressure=pressure,
            spread=spread,
            grouping=measure_grouping(requests, judged, limits),
            in_one_moment=missed_in_one_moment(requests, judged, limits),
        )
        self.probes.append(probe)
        self.reasons.append((probe.level, record.invalid))
        record = replace(
            record,
            metrics=record.metrics
            | slo_metrics(requests, judged, limits)
            | {"slo_level": probe.level}
            | {"slo_level_passed": self.answer.level, "slo_requests_left": self._requests_left}
            | _bracket_metrics(self.answer),
        )
        self.records.append(record)
        if "mean_e2el_ms" in record.metrics:
            self.durations[probe.level] = record.metrics["mean_e2el_ms"] / 1e3
        return record

    @property
    def _requests_left(self) -> float:
        """How many more the search may judge."""
        return float(max(MOST - sum(probe.of for probe in self.probes), 0))

    @property
    def metrics(self) -> dict[str, float]:
        """Of the search's own record: its answer, and what was measured there and at the lowest level that failed."""
        found = self.answer
        kind = self.run.config.workload.search
        metrics: dict[str, float] = {f"slo_{kind.name}": found.level, "probes": len(self.probes)} if kind else {}
        metrics |= _bracket_metrics(found)
        if found.level:
            highest = self.best_records[found.level].metrics
            metrics |= {
                key: highest[key]
                for key in ("slo_request_goodput", "slo_output_throughput", "slo_window_s")
                if key in highest
            }
        if math.isfinite(found.failed):
            missed = self.best_records[found.failed].metrics
            metrics |= {key: value for key, value in missed.items() if key.startswith("slo_p99_")}
        return metrics


def _probe_run(context: SessionContext, run: Run, plan: Plan) -> Run:
    probe, question = plan_run(plan.config, context.environment["engine"], parent=run.key), plan.question
    level = LEVEL_FORMATS[run.config.workload.search.name].format(question.level) if run.config.workload.search else ""
    return replace(probe, name=replace_load(run.name, f"{level}, probe {question.attempt + 1}"))


def _bracket_metrics(found: Answer) -> dict[str, float]:
    """The interval of the capacity, the lowest level that failed if one did, and what a moment may have done."""
    failed = {"slo_level_failed": found.failed} if math.isfinite(found.failed) else {}
    moment = {"slo_failed_in_one_moment": 1.0} if found.in_one_moment else {}
    aside = {} if found.set_aside is None else {"slo_level_set_aside": found.set_aside}
    return {"slo_capacity_low": found.low, "slo_capacity_high": found.high} | failed | moment | aside


def find_best(probes: Sequence[Probe], records: Sequence[Record]) -> dict[float, Record]:
    """Of each level, the record of the probe that judged most requests, of those that count if one does."""
    counted = set_aside(probes, find_set_aside(probes))
    tells = [(probe.trusted or probe.saturated, probe.of) for probe in counted]
    return {probes[place].level: records[place] for place in sorted(range(len(probes)), key=tells.__getitem__)}


def explain_untrusted(levels: Sequence[float], reasons: Iterable[tuple[float, list[Reason]]]) -> list[Reason]:
    """Why the search is INVALID if no probe of these levels was trusted: that, and what disturbed them, each reason
    as the latest of these probes has it. `reasons` has the level of each probe and why it was INVALID.
    """
    if not levels:
        return []
    causes = {
        reason.code: Reason(reason.code, f"the probe of {level:g}: {reason.sentence}")
        for level, found in reasons
        for reason in found
        if level in levels and reason.code != "ended_early"  # a consequence
    }
    named = ", ".join(f"{level:g}" for level in levels)
    sentence = f"no probe of {named} could be trusted, so the answer may be higher"
    return [Reason("untrusted_probes", sentence), *causes.values()]


def find_qualifying(probes: Iterable[Record]) -> list[Reason]:
    """The warnings of the probes that qualify a verdict, and so the search's: one of each code."""
    return list({each.code: each for record in probes for each in record.warnings if each.code in GRADES}.values())


def _is_decisive(context: SessionContext, probe: Run, record: Record) -> bool:
    requests = _load_requests(context, probe)
    return _is_saturated(record, requests) or _is_trusted(record, requests)


def _load_requests(context: SessionContext, probe: Run) -> Requests:
    return Requests.load(context.folder / probe.folder / REQUESTS)


def _is_trusted(record: Record, requests: Requests) -> bool:
    """Whether a probe tells which requests met the SLO: VALID, or INVALID by a lag that hardly matters there."""
    return not _find_disturbances(record, requests)


def _is_saturated(record: Record, requests: Requests) -> bool:
    """Whether the probe ended early because its load had outgrown the server, and not because something passing, such
    as a host without CPU, had slowed the server or the client meanwhile.
    """
    return "ended_early_s" in record.metrics and not RETRIES.keys() & _find_disturbances(record, requests)


def _find_disturbances(record: Record, requests: Requests) -> set[str]:
    """The codes for which the record is INVALID or FAILED, without that of a lag that hardly matters to the SLO."""
    limits = {key: limit for key, limit in record.config["workload"]["slo"].items() if limit is not None}
    codes = {reason.code for reason in record.invalid} | ({record.failure.kind} if record.failure else set())
    if "lagging_client" in codes and is_negligible(_find_lag_s(record), requests, limits):
        codes.remove("lagging_client")
    return codes


def _find_lag_s(record: Record) -> float:
    """How late the client stamped what arrived, all the time or as first tokens came (p99)."""
    return max(record.metrics["client_loop_lag_p99_s"], record.metrics.get("client_ttft_lag_p99_s", 0.0))
