"""A run that searches: probes of one session, each an ordinary run, up to the highest load that meets the SLO."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone

from vbench.plan.naming import load_name, reloaded
from vbench.plan.sessions import Run, planned
from vbench.schema import Search, Workload
from vbench.schema.record import Reason, Record, find_record
from vbench.session.context import Servers, SessionContext
from vbench.session.measuring import measure
from vbench.session.saturation import OverloadDetector
from vbench.workload.search import Probe, answer, next_level, probe_config, unproven


async def search(bench: SessionContext, fleet: Servers, run: Run) -> Record:
    """Probes loads, each an ordinary run with this one as its parent, until the highest that meets the SLO is known.

    A probe of a rate ends early once the rate has outgrown the server.
    """
    started, wanted = datetime.now(timezone.utc), run.config.workload.search
    probes: list[Probe] = []
    best: dict[float, Record] = {}
    while (level := next_level(probes, whole=wanted is Search.max_concurrency)) is not None:
        attempt = sum(probe.level == level for probe in probes)
        probe = planned(probe_config(run.config, level, attempt), bench.environment["engine"])
        probe = dataclasses.replace(probe, name=reloaded(run.name, load_name(probe.config)))
        record = find_record(bench.folder / probe.folder)
        if record is None or not _decides(record):  # what an interrupted search has probed is not probed again
            measured = await measure(bench, fleet, probe, _overload_detector(probe.config.workload))
            record = dataclasses.replace(measured, parent=run.key)
            bench.save(probe, record)
        probes.append(_as_probe(level, record))
        best[level] = record
    found = {f"slo_{wanted.name}": answer(probes), "probes": len(probes)} if wanted else {}
    if highest := best.get(answer(probes)):
        found |= {f"slo_{key}": highest.metrics[key] for key in ("request_goodput", "output_throughput")}
    invalid = []
    if levels := ", ".join(f"{level:g}" for level in unproven(probes)):
        sentence = f"no probe of {levels} was to be trusted: the answer may lie higher"
        invalid = [Reason("untrusted_probes", sentence)]
    return dataclasses.replace(bench.record(run, started), server=fleet.facts, metrics=found, invalid=invalid)


def _overload_detector(load: Workload) -> OverloadDetector | None:
    """What to watch a probe for; in a closed loop nothing can outgrow the server."""
    if not load.paced or load.max_concurrency:
        return None
    limit_ms = load.slo.ttft_ms or load.slo.e2el_ms
    return OverloadDetector(limit_ms / 1e3 if limit_ms else None)


def _as_probe(level: float, record: Record) -> Probe:
    found = record.metrics
    return Probe(
        level,
        met=int(found["slo_met"]),
        of=int(found["num_prompts"]),
        trusted=record.verdict == "VALID",
        saturated=bool(found.get("saturated")),
    )


def _decides(record: Record) -> bool:
    return record.verdict == "VALID" or bool(record.metrics.get("saturated"))
