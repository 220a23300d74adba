"""Measures one run on its session's servers: load, metrics, verdict; without load, the servers' start itself."""

from __future__ import annotations

import dataclasses
import math
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain

import numpy as np

from vbench.engine.compilelog import VERBOSE_MONITOR, Compilation, LogPosition
from vbench.engine.counters import compute_changes, count_earlier_requests, parse_hit_shares
from vbench.loadgen import REPORT_S, Client, Load, Progress, count_needed
from vbench.metrics.cached import CacheFacts, count_cached, find_hits, hit_metrics
from vbench.metrics.compile_rules import LOG_CUT
from vbench.metrics.compiling import compile_share
from vbench.metrics.conversing import (
    session_metrics,
    spans_of_sessions,
    spans_of_ttft,
    ttft_by_cached_share,
    ttft_by_turn,
)
from vbench.metrics.definitions import is_measured, is_success, metrics
from vbench.metrics.front_end import find_front_ends
from vbench.metrics.goodput import goodput, is_saturated
from vbench.metrics.occupancy import summaries
from vbench.metrics.reach import reach
from vbench.metrics.stalls import EngineFacts
from vbench.metrics.steady import steady_metrics
from vbench.metrics.validity import judge
from vbench.plan.positions import default_context
from vbench.plan.resources import load_timeout_s
from vbench.plan.sessions import Run
from vbench.schema import Lengths, Model, Workload
from vbench.schema.record import NOT_SENT, REQUESTS, TELEMETRY, Reason, Record, put_aside
from vbench.session import telemetry
from vbench.session.context import Servers, SessionContext
from vbench.session.early_end import EarlyEnd
from vbench.session.forgotten import ForgottenRequests
from vbench.session.telemetry import Watch
from vbench.workload.arrivals import rates_of_ramp
from vbench.workload.prompts import Prompts, digest, prompts, redraw, replace_beginnings
from vbench.workload.search import streams
from vbench.workload.sharing import send_times

RETRIES = {  # by code: how often a run is measured again, at once and on the same servers
    "compiled_under_load": 2,  # the kernels exist by then, but no two attempts form exactly the same batches
    "stalled_unexplained": 1,
    "lagging_client": 1,
    "late_client": 1,
    "starved_host": 1,
    "buffered_replies": 1,  # a client that lacks CPU time reads several tokens at once
}
SLOWED = {"compiled_under_load", "starved_host"}  # the server was slower for a time than it is
OF_TEMPLATE = frozenset({"server_prefix_cache_hits", "server_external_cache_hits", "prefix_hits_measured"})
MakePrompts = Callable[[Workload, int, str, int], Prompts]


async def measure_until_trusted(
    context: SessionContext,
    servers: Servers,
    run: Run,
    measure_once: Callable[[], Awaitable[Record]] | None = None,
    is_trusted: Callable[[Record], bool] | None = None,
) -> Record:
    """Measures the run; repeats it at once if the engine was not warm yet, or if the host or the client disturbed it.

    Earlier measurements move to separate folders, which the record names; see RETRIES. `measure_once` replaces
    `measure`; a record that `is_trusted` is not measured again. Raises as `measure`.
    """
    aside: list[str] = []
    tries: Counter[str] = Counter()
    while True:
        record = await (measure_once() if measure_once else measure(context, servers, run))
        codes = _retriable_codes(record)
        trusted = is_trusted is not None and is_trusted(record)
        if trusted or len(aside) == max(RETRIES.values()) or not any(tries[code] < RETRIES[code] for code in codes):
            return _name_earlier(record, aside)
        tries.update(codes)
        _name_earlier(record, aside).save(context.folder_of(run))
        folder = put_aside(context.folder_of(run))
        aside.append(f"{folder.name if folder else run.folder} ({', '.join(codes)})")


async def measure(
    context: SessionContext,
    servers: Servers,
    run: Run,
    early_end: EarlyEnd | None = None,
    make_prompts: MakePrompts = prompts,
) -> Record:
    """Loads the servers with the run's workload; saves the raw files, but not yet the record.

    `early_end` may end the load before all of it was sent; its metrics say why. No run finds the prompts of an earlier
    one in a prefix cache: servers started here get a new cache salt with each load. An external server may not know
    salts, and gets new prompts each time, by a nonce that is in the record; prompts from a file only begin with other
    tokens.
    Raises ServerFailed if a server ends meanwhile or no longer tells its counters, and then keeps the raw files too;
    ClientLost if a load process ends.
    """
    model, workload = run.config.model, run.config.workload
    nonce = secrets.token_hex(8) if context.session.is_external else None
    asked = make_prompts(workload, model.vocab_size, model.hub_id, longest_context(servers, model))
    if nonce:
        is_text = workload.lengths is Lengths.sharegpt_file
        asked = (replace_beginnings if is_text else redraw)(asked, model.vocab_size, nonce)
    load = _load(
        run,
        servers,
        asked,
        cache_salt=None if context.session.is_external else secrets.token_hex(16),
        report_s=early_end.report_s if early_end else REPORT_S,
    )
    await servers.check_unchanged()

    pages, before, began = await servers.read_metrics(), await servers.counters(), datetime.now(timezone.utc)
    controls = [server.control for server in servers.servers]
    servers.settle_logs()
    logs = LogPosition.at_end(servers.logs)
    async with telemetry.watch(controls, servers.find_processes(), context.lease) as watch:
        tick, ends = context.events.write_measuring(run), _watch_for_end(servers, watch, early_end)
        requests, client = await context.load(load, tick, ends)
    unsent = requests.error == NOT_SENT
    requests, incomplete = requests.select(~unsent), requests.session[unsent[: len(requests.session)]]
    requests.save(context.folder_of(run) / REQUESTS)  # before anything that may fail: these were measured
    series = watch.series(client.started_at_monotonic_s)
    series.save(context.folder_of(run) / TELEMETRY)
    servers.settle_logs()
    compiled, is_log_cut = logs.find_compilations(), logs.was_cut()
    await servers.check_unchanged()
    if not is_success(requests).all():  # what was broken off here may still run there
        await servers.wait_until_idle()
    ended = early_end.metrics if early_end else {}
    counted = compute_changes(before, await servers.counters()) | count_earlier_requests(before)
    by_engine = list(chain(*map(parse_hit_shares, pages, await servers.read_metrics())))

    engine = _engine_facts(servers, compiled, client)._replace(front_ends=find_front_ends(series))
    counts = is_measured(requests, workload.warmup_s)
    found = metrics(requests, engine, counts) | steady_metrics(requests, counts)
    found |= {} if counts.all() else {"warmup_requests": float((~counts).sum())}
    hits = find_hits(requests, CacheFacts.of(servers.facts))
    found |= (
        hit_metrics(requests, hits, counted, by_engine)
        | session_metrics(requests, incomplete, workload.warmup_s or 0.0)
        | ttft_by_turn(requests, counts)
        | (ttft_by_cached_share(requests, hits.nearest, counts) if hits else {})
    )
    if compiled or "kernel_monitor" in servers.facts:
        found["compilations"] = float(len(compiled))
    if compiled and _logs_every_compilation(servers, compiled):
        of_sessions = spans_of_sessions(requests, incomplete, workload.warmup_s or 0.0)
        of_ttft = spans_of_ttft(requests, counts, hits.nearest if hits else None)
        found["compile_share"] = compile_share(requests, engine.compiled_at, counts, [*of_ttft, *of_sessions])
    found |= (
        goodput(requests, workload.slo.limits, counts) | counted | _client_metrics(client) | summaries(series, requests)
    )
    if workload.paced and not (workload.max_concurrency or workload.sessions):
        rates = rates_of_ramp(workload)
        found["saturated"] = float(is_saturated(requests, None if rates is None else rates[~unsent]))
    found |= reach(requests.select(counts), run.config, count_cached(hits, counts, found)) | ended
    # New prompts have only the chat template's leading text in common.
    of_template = OF_TEMPLATE if nonce and context.session.engine.chat else frozenset[str]()
    judged = {key: value for key, value in found.items() if key not in of_template}
    judgement = judge(
        requests,
        _judged_load(workload, early_end),
        judged,
        [each.kernel for each in compiled],
        _compiles_on_demand(servers),
        watch.describe_others(),
        context.session.is_external,
        incomplete,
    )
    record = context.record(run, began)
    return replace(
        record,
        environment=record.environment | {"prompts": digest(workload)},  # which a file's path does not tell
        server=servers.facts
        | ({"prompt_nonce": nonce} if nonce else {})
        | ({"prompt_vocab_size": model.vocab_size} if model.is_unknown else {}),
        metrics=found,
        warnings=judgement.warnings,
        invalid=[*judgement.invalid, *([LOG_CUT] if is_log_cut else [])],
    )


def _watch_for_end(servers: Servers, watch: Watch, early_end: EarlyEnd | None) -> Callable[[Progress], str]:
    forgotten = ForgottenRequests(servers, watch.rows)
    return lambda progress: (early_end(progress) if early_end else "") or forgotten(progress)


def _judged_load(load: Workload, early_end: EarlyEnd | None) -> Workload:
    """The load as it is judged: the rate at which a probe fills the places of its closed loop is nobody's wish."""
    return replace(load, request_rate=math.inf) if early_end and load.max_concurrency else load


def _compiles_on_demand(servers: Servers) -> bool:
    """Whether the engine compiled kernels after its start: it may compile more of them without logging it."""
    return bool(servers.facts.get("rehearsal_compiled"))


def _logs_every_compilation(servers: Servers, compiled: Sequence[Compilation]) -> bool:
    """Whether the log has each compilation and its time. With several engines, the pause of one does not show."""
    every = servers.facts.get("kernel_monitor") == VERBOSE_MONITOR and servers.engine_count == 1
    return every and all(each.at_s is not None for each in compiled)


def _retriable_codes(record: Record) -> list[str]:
    """The codes that another measurement may clear; none if another reason makes the run INVALID anyway.

    A load that was ended early outgrew the server, unless the server was SLOWED: requests pile up meanwhile.
    """
    consequences = {"ended_early"} if SLOWED & {each.code for each in record.invalid} else set[str]()
    lasting = [each for each in record.invalid if each.code not in RETRIES.keys() | consequences]
    return [] if lasting else [each.code for each in (*record.invalid, *record.warnings) if each.code in RETRIES]


def _name_earlier(record: Record, aside: Sequence[str]) -> Record:
    """The record with the folders of the measurements before it."""
    if not aside:
        return record
    again = Reason("measured_again", f"measured {len(aside) + 1} times; put aside: {'; '.join(aside)}")
    return replace(record, warnings=[*record.warnings, again])


def _engine_facts(servers: Servers, compiled: Sequence[Compilation], client: Client) -> EngineFacts:
    started_at = time.time() - (time.perf_counter() - client.started_at_monotonic_s)
    instants = [each.at_s - started_at for each in compiled if each.at_s is not None]
    return EngineFacts(
        compiled_at=np.array(instants),
        prefill_rate=servers.facts.get("prefill_tokens_per_s", 0.0),
        step_tokens=servers.step_tokens,
    )


async def record_start(context: SessionContext, servers: Servers, run: Run) -> Record:
    """The record of a run without load, from the session's start to now: what the servers report about themselves."""
    return replace(context.record(run, context.started), server=servers.facts)


def longest_context(servers: Servers, model: Model) -> int:
    """The longest context in tokens: as the servers report it, else the model's."""
    return int(servers.facts["max_model_len"] or default_context(model))


def _load(run: Run, servers: Servers, asked: Prompts, cache_salt: str | None, report_s: float) -> Load:
    load = run.config.workload
    carries_replies = asked.structure is not None and bool((asked.structure.extends >= 0).any())
    return Load(
        endpoints=servers.endpoints,
        prompts=asked.ids,
        output_len=asked.output_len,
        scheduled=send_times(load),
        max_concurrency=load.max_concurrency,
        ignore_eos=load.ignore_eos,
        timeout_s=load_timeout_s(run),
        sending_s=load.sending_s,
        processes=load.client_processes or count_needed(streams(load)),
        cache_salt=cache_salt,
        report_s=report_s,
        structure=asked.structure,
        sessions=load.sessions,
        routing=load.routing,
        returns_ids=carries_replies and servers.facts["engine"].startswith("vllm"),
    )


def _client_metrics(client: Client) -> dict[str, float]:
    return {f"client_{name}": value for name, value in dataclasses.asdict(client).items()}
