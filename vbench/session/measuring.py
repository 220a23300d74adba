"""One run on the servers of its session: loaded, measured, judged; or, where nothing is sent, their start itself."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone

from vbench.engine.counters import busy, change
from vbench.loadgen import Client, Load, enough_for
from vbench.metrics.definitions import metrics
from vbench.metrics.goodput import goodput, saturated
from vbench.metrics.occupancy import summaries
from vbench.metrics.validity import judge
from vbench.plan.sessions import Run
from vbench.schema import Model
from vbench.schema.record import REQUESTS, TELEMETRY, Record
from vbench.session import telemetry
from vbench.session.context import Servers, SessionContext
from vbench.session.saturation import OverloadDetector
from vbench.workload.arrivals import scheduled
from vbench.workload.prompts import Prompts, generator, prompts
from vbench.workload.search import streams

RUN_TIMEOUT_S = 3600.0


async def measure(bench: SessionContext, fleet: Servers, run: Run, overload: OverloadDetector | None = None) -> Record:
    """Loads the servers with the run's workload; the record is not yet saved, the raw files are.

    Where an overload is watched for, the load ends once it shows: that record is INVALID as a measurement of its load.
    Raises ServerFailed where a server ends meanwhile, ClientLost where a load process does.
    """
    model, workload = run.config.model, run.config.workload
    asked = prompts(workload, model.vocab_size, model.hub_id, longest(fleet, model))
    load = _load(run, fleet, asked)
    await fleet.fresh()

    before, began = await fleet.counters(), datetime.now(timezone.utc)
    controls = [server.control for server in fleet.servers]
    async with telemetry.watch(controls, fleet.pids, bench.share.uuids) as watch:
        requests, client = await bench.load(load, bench.events.measuring(run), overload)
    fleet.check_alive()
    if overload and overload.at_s:
        await fleet.idle()
    counted = change(before, await fleet.counters()) | busy(before)

    requests.save(bench.folder_of(run) / REQUESTS)
    series = watch.series(client.started_at_monotonic_s)
    series.save(bench.folder_of(run) / TELEMETRY)
    found = metrics(requests) | goodput(requests, workload.slo.limits) | counted | _client_metrics(client)
    found |= summaries(series, requests)
    if workload.paced and not workload.max_concurrency:
        found["saturated"] = float(saturated(requests))
    if overload and overload.at_s:
        found |= {"saturated": 1.0, "ended_early_s": overload.at_s}
    judgement = judge(requests, workload, found)
    return dataclasses.replace(
        bench.record(run, began),
        server=fleet.facts,
        metrics=found,
        warnings=judgement.warnings,
        invalid=judgement.invalid,
    )


async def started(bench: SessionContext, fleet: Servers, run: Run) -> Record:
    """The record of a run without load, from the session's start to now: what the servers said of themselves."""
    return dataclasses.replace(bench.record(run, bench.started), server=fleet.facts)


def longest(fleet: Servers, model: Model) -> int:
    """Tokens of the longest context: what the servers say, else what the model has."""
    return int(fleet.facts["max_model_len"] or model.max_position_embeddings)


def _load(run: Run, fleet: Servers, asked: Prompts) -> Load:
    load = run.config.workload
    return Load(
        endpoints=fleet.endpoints,
        prompts=asked.ids,
        output_len=asked.output_len,
        scheduled=scheduled(load, generator(load, "arrivals")),
        max_concurrency=load.max_concurrency,
        ignore_eos=load.ignore_eos,
        timeout_s=RUN_TIMEOUT_S,
        processes=load.client_processes or enough_for(streams(load)),
    )


def _client_metrics(client: Client) -> dict[str, float]:
    return {f"client_{name}": value for name, value in dataclasses.asdict(client).items()}
