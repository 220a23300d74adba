"""What `vbench plan` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vbench.campaign.planning.wording import count, show_number, show_range, show_span
from vbench.plan.forecast.campaign import Forecast, PlannedSession, list_pool_sizes, pack_pool
from vbench.plan.forecast.estimate import Basis
from vbench.plan.forecast.packing import wall_s
from vbench.plan.memory.steps import find_steps
from vbench.plan.naming import DOT
from vbench.workload.search import streams

MOST = 12  # sessions shown; the page has all
NAMED = 2  # sessions named with one reason


def summarise(found: Forecast, sizes: Mapping[str, int], experiment: str) -> Iterator[str]:
    """The lines: what would be started, what it takes, what is left out and why."""
    started = found.started
    points = sum(len(each.missing) for each in started)
    yield f"plan of {experiment}: {count(len(started), 'session')}, {count(points, 'point')}; nothing is started"
    for each in started[:MOST]:
        yield f"  {describe_session(each)}"
    if len(started) > MOST:
        yield f"  … and {count(len(started) - MOST, 'more session')}"
    yield from describe_left_out(found)
    if coverage := describe_coverage(found):
        yield coverage
    yield f"GPU hours: {show_range(found.gpu_hours)}{describe_bases(found)}"
    for pool, sessions in found.pools.items():
        if pool == "external":
            continue
        if pool == "cpu":
            yield f"wall time, cpu: {show_span(sum(each.seconds.value for each in sessions))}"
            continue
        times = [(size, wall_s(pack_pool(sessions, size))) for size in list_pool_sizes(sessions, sizes.get(pool))]
        yield f"wall time, {pool}: {', '.join(f'{show_span(wall)} on {_gpus(size)}' for size, wall in times)}"
    dollars = found.dollars
    if dollars:
        yield f"dollars: {show_range(dollars)}"
    elif any(each.gpus for each in started):
        yield "dollars: no price is set (vbench plan 'prices={h100: 2.5}', or in conf/gpu/)"


def describe_left_out(found: Forecast) -> Iterator[str]:
    """Lines on the points that are recorded, and on the sessions that cannot work, each reason once."""
    recorded = sum(len(each.runs) - len(each.missing) for each in found.sessions if not each.infeasible)
    if recorded:
        yield f"recorded already, so skipped: {count(recorded, 'point')}"
    reasons: dict[str, list[PlannedSession]] = {}
    for each in found.sessions:
        if each.infeasible:
            reasons.setdefault(each.infeasible, []).append(each)
    for reason, sessions in reasons.items():
        names = list(dict.fromkeys(map(name_session, sessions)))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"infeasible, so not started: {', '.join(names[:NAMED])}{more}: {reason}"


def describe_bases(found: Forecast) -> str:
    """What a sum rests on: `, by assumed starts and predicted points`; empty if nothing is started."""
    parts = []
    for what, used in (
        ("starts", {each.start.basis for each in found.started if not each.session.is_external}),
        ("points", {run.seconds.basis for each in found.started for run in each.missing if run.seconds}),
    ):
        if used:
            parts.append(f"{' or '.join(basis.name for basis in Basis if basis in used)} {what}")
    return f", by {' and '.join(parts)}" if parts else ""


def describe_coverage(found: Forecast) -> str:
    """Which part of a grid was predicted that is too large to predict all of it; empty if all was."""
    if not found.not_predicted:
        return ""
    asked = found.predicted + found.not_predicted
    return (
        f"predicted: {found.predicted:,} of {count(asked, 'point')} without a record; the grid is too large to predict "
        "all, so the other points have no throughput or latency here, and their time is what their limits assume"
    )


def describe_waiting(found: Forecast) -> str:
    """Why a slower GPU may show less TPOT and more TTFT: it runs fewer requests at once. Empty where none waits."""
    told, waits = dict[tuple[str, int], None](), False
    for each in found.sessions:
        gpu = each.session.hardware.gpu
        loads = [streams(run.run.config.workload) for run in each.runs if run.expected is not None]
        if gpu is None or not loads:
            continue
        split = each.session.parallelism
        most = find_steps(each.session.engine, gpu, split.pipeline_parallel_size or 1).sequences
        told[gpu.name, most] = None
        waits = waits or max(loads) > most * split.engine_count
    if not waits:
        return ""
    places = ", ".join(f"{most:,} on {name}" for name, most in told)
    return (
        f"Requests that a replica runs at once, at most: {places} (`engine.max_num_seqs`, else vLLM's default for the "
        "GPU). Others wait: that adds to their TTFT, not to the TPOT of those that run."
    )


def _gpus(number: int) -> str:
    return count(number, "GPU")


def describe_session(each: PlannedSession) -> str:
    """`llama70b · 2xh100 · tp2: start 150 s (assumed), 3 points in 60 s (predicted), 0.13 GPU hours`."""
    load_s = sum(run.seconds.value for run in each.missing if run.seconds)
    ready = each.start.value + each.rehearsal.value
    held = f", {show_number(each.gpu_hours.value)} GPU hours" if each.gpus else ""
    basis = each.basis.name if each.basis else ""
    start = f"start and warm-up (rehearsal of the loads) {show_span(ready)} ({each.start.basis.name}), "
    return (
        f"{name_session(each)}: {'' if each.session.is_external else start}"
        f"{count(len(each.missing), 'point')} in {show_span(load_s)} ({basis}){held}"
    )


def name_session(each: PlannedSession) -> str:
    """`llama70b · 2xh100 · tp2`, and the values in which it differs from others of that name."""
    return each.session.runs[0].name.rpartition(DOT)[0]
