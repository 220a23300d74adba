"""The rehearsal: before any measurement, warms the servers up with the batch and prefill shapes of the session's runs.

An engine compiles kernels when it first meets a shape: the number of tokens in a prefill step, or of requests in a
decode step. If its kernels depend on the exact size of a step, `stepwalk` goes through all sizes first. Then the
rehearsal starts with the largest run. It sends as many requests at once as the run will, with the
run's prompt lengths and with replies that end one after another, so that the decode batch shrinks to one. It repeats
each shape until the log shows no compilation, no pause is unexplained, and the shape takes no less time than before:
vLLM does not log a kernel's second compilation for other constants, and the first bursts through a new front end reach
the engine more slowly (median TTFT of 160 requests at once on an H200: 648, 510, 471 ms, with nothing compiled). Once
the front ends are warm by the first shape, an engine whose log has every compilation gets each further shape once. If
it has compiled nothing under that shape in full, the rounds that follow are bursts for the front ends: their replies
are an eighth as long, and still end one after another.

A server without a log (it was already running, and is not ours) and one that gets no load (`workload=none`) get one
request, to check that they answer. If it is not ready yet and says when to ask again, it is asked then.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vbench.engine.compilelog import VERBOSE_MONITOR, LogPosition
from vbench.engine.readiness import NOT_READY, find_retry_after
from vbench.loadgen import Load
from vbench.metrics.definitions import is_success, latencies, metrics
from vbench.metrics.prefill import peak_prefill_rate
from vbench.metrics.stalls import EngineFacts, prefill_rate
from vbench.plan.resources import SILENCE_S
from vbench.plan.sessions import Run, Session
from vbench.schema.errors import ServerFailed
from vbench.schema.failures import Kind
from vbench.schema.record import Floats, Ints, Requests
from vbench.session import telemetry
from vbench.session.context import Servers, SessionContext
from vbench.session.forgotten import ForgottenRequests
from vbench.session.measuring import longest_context
from vbench.session.rehearsal_facts import Rehearsal
from vbench.session.stepwalk import compiles_by_step, one_step, walk_step_sizes
from vbench.workload.prompts import FIRST_ID, prompts
from vbench.workload.search import streams

BURSTS = ((1, 256, 16), (8, 256, 16))  # requests at once, tokens of each prompt, of each reply
PREFILLS = (1024, 1536, 2048, 3072, 4096)  # tokens in one step, of a model without experts
LONGEST_REPLY = 64  # tokens: the last of a burst's replies; the others end before it, one after another
MOST_AT_ONCE = 1024  # requests; vLLM's default max_num_seqs on large GPUs
SHORTER = 8  # times, of the replies of rounds after a full one that showed that nothing is compiled on demand
FOLLOWING = 64  # requests of a burst that wait for a place in it
SEARCHED_AT_ONCE = 256  # for a search, whose loads are not known yet
FULL_STEPS = 4  # of prefill in one burst; further prompts are cut to SHORT tokens, as more full steps would be alike
SHORT = 16
BUDGET_S, BUDGET_OF_START = 20.0, 0.4  # the larger counts: a start takes 90 to 230 s on GPUs, a kernel up to 2 s
SETTLED = 0.9  # of the previous round's seconds and TTFT: a shape that still gets faster is not warm
SHORT_TTFT_S = 0.02  # a median below this is not worth a second round: a tenth of it is 2 ms
MOST_ROUNDS = 6  # of one shape
NOT_WALKED = "kernels of step sizes, which follow from the prompts of several engines: none was tried"


@dataclass(frozen=True)
class Shape:
    """A burst: tokens of each prompt and of each reply, both (n,); at most `at_once` requests are in flight."""

    input_len: Ints
    output_len: Ints
    at_once: int

    def shorten(self) -> Shape:
        """The same burst with shorter replies, of which the longest still end one after another."""
        return replace(self, output_len=-(-self.output_len // SHORTER))


@dataclass(frozen=True)
class Pace:
    """How fast one round of a shape was: its seconds in all and its median TTFT; `short` replies take fewer seconds."""

    seconds: float
    ttft_s: float
    short: bool = False

    def has_settled(self, before: Pace) -> bool:
        """Whether this round was no more than a tenth faster than the one before, as far as the two are alike."""
        as_long = self.short is not before.short or self.seconds >= SETTLED * before.seconds
        return as_long and (self.ttft_s >= SETTLED * before.ttft_s or self.ttft_s < SHORT_TTFT_S)


def is_warm(now: Pace, before: Pace | None, done: Rehearsal, complete: bool) -> bool:
    """Whether a round in which nothing was compiled shows that its shape is warm; `before` is its round before.

    `complete`: the log has every compilation, so a shape's first round tells what it still needs. Else the first round
    is enough only where nothing was compiled at all and its TTFT is short.
    """
    if before:
        return now.has_settled(before)
    return (complete and done.front_ends_warm) or (not done.compiled and now.ttft_s < SHORT_TTFT_S)


def is_enough_in_short(done: Rehearsal, complete: bool) -> bool:
    """Whether short replies show what is left to show: the largest shape was met in full, and nothing ever compiled.

    `complete`: the log has every compilation. Without it only time tells that a kernel was compiled again.
    """
    return complete and done.met_in_full and not done.compiled


async def rehearse(context: SessionContext, servers: Servers, left: deque[Run]) -> dict[str, Any]:
    """Warms the servers up for the session's runs, within the budget, and returns the facts for the records.

    Raises ServerFailed if a server cannot answer. If it fails under the shape of some runs, only these count as failed
    and are removed from `left`.
    """
    session = context.session
    done = Rehearsal(time.monotonic(), budget_s=choose_budget_s(servers.facts.get("start_s", 0.0)))
    for count, length, reply in bursts(session, longest_context(servers, session.model)):
        total = count * servers.engine_count
        burst = Shape(np.full(total, length), np.full(total, reply), total)
        requests = await _send_until_ready(context, servers, burst, done)
        if not is_success(requests).all():
            kind: Kind = "unreachable" if _is_not_ready(session, requests) else "engine_error"
            raise ServerFailed(kind, _describe_failed(requests), servers.servers[0].log)
    if session.is_external:
        return {}
    if not group_runs(session):  # starts without a load: nothing will be measured that could be cold
        return done.facts
    if compiles_by_step(session, done):
        if session.engines_per_server > 1:
            done.still_compiling.append(NOT_WALKED)
        else:
            await walk_step_sizes(context, servers, done)
    if session.hardware.gpus or done.compiled:
        for runs in group_runs(session):
            with _failing(runs, left):
                await _load_until_warm(context, servers, _shape_of(runs[0], servers), done)
    return done.facts


def choose_budget_s(start_s: float) -> float:
    """Seconds that a rehearsal may take after a start of so many."""
    return max(BUDGET_S, BUDGET_OF_START * start_s)


async def _send_until_ready(context: SessionContext, servers: Servers, shape: Shape, done: Rehearsal) -> Requests:
    """Sends the shape, again for as long as an external server is not ready and says when to ask."""
    readiness = context.readiness
    while True:
        requests, _ = await _round(context, servers, shape, done)
        if not _is_not_ready(context.session, requests):
            return requests
        said = _describe_failed(requests)
        if not await readiness.wait(said, find_retry_after(said)):
            return requests


def _is_not_ready(session: Session, requests: Requests) -> bool:
    return session.is_external and bool(np.isin(requests.status, NOT_READY).any())


def _describe_failed(requests: Requests) -> str:
    return f"a warm-up request failed: {requests.error[~is_success(requests)][0]}"


@contextmanager
def _failing(runs: Sequence[Run], left: deque[Run]) -> Iterator[None]:
    """Removes the runs from `left` if the block fails."""
    try:
        yield
    except Exception:
        for run in runs:
            left.remove(run)
        raise


def bursts(session: Session, context: int) -> list[tuple[int, int, int]]:
    """The bursts that warm every server up: (requests at once, tokens of each prompt, of each reply), within `context`.

    On GPUs they include prefills of growing size. Without a load that follows, one request shows that a server answers.
    """
    wanted = [(count, max(1, min(length, context - reply)), reply) for count, length, reply in BURSTS]
    if session.is_external or not group_runs(session):
        return wanted[:1]
    if session.hardware.gpus and not session.model.num_experts:
        wanted += [(count, length, 1) for count, length in (one_step(tokens, context) for tokens in PREFILLS)]
    return wanted


def group_runs(session: Session) -> list[list[Run]]:
    """The session's runs by their shape, largest first."""
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in sorted(session.runs, key=_choose_concurrency, reverse=True):
        if not run.config.workload.start_only:
            groups[f"{_choose_concurrency(run)} {replace(run.config.workload, seed=0, num_prompts=0)}"].append(run)
    return list(groups.values())


def _shape_of(run: Run, servers: Servers) -> Shape:
    model, context = run.config.model, longest_context(servers, run.config.model)
    asked = prompts(run.config.workload, model.vocab_size, model.hub_id, context)
    most_tokens = FULL_STEPS * servers.step_tokens * len(servers.servers)
    return shape(asked.input_len, _choose_concurrency(run), context, most_tokens)


def shape(input_len: Sequence[int] | Ints, at_once: int, context: int, most_tokens: int) -> Shape:
    """`at_once` requests with prompts of these lengths, and replies that end one after another.

    If the run has more prompts, some follow, so that prefills and replies mix. Once the prompts total `most_tokens`,
    the others are short.
    """
    count = min(at_once + FOLLOWING, max(len(input_len), at_once))
    replies = 1 + np.arange(at_once) * (min(LONGEST_REPLY, context - 1) - 1) // max(at_once - 1, 1)
    output_len = np.resize(replies[::-1], count)
    lengths = np.minimum(np.resize(np.asarray(input_len), count), context - output_len)
    full = np.cumsum(lengths) > most_tokens
    lengths[full] = np.minimum(lengths[full], SHORT)
    return Shape(np.maximum(lengths, 1), output_len, at_once)


def _choose_concurrency(run: Run) -> int:
    load, seats = run.config.workload, run.config.engine.max_num_seqs or MOST_AT_ONCE
    most = SEARCHED_AT_ONCE if load.search else MOST_AT_ONCE
    return min(streams(load), most, seats * run.config.parallelism.engine_count)


async def _load_until_warm(context: SessionContext, servers: Servers, shape: Shape, done: Rehearsal) -> None:
    before, kernels = None, list[str]()
    complete = servers.facts.get("kernel_monitor") == VERBOSE_MONITOR
    for _ in range(MOST_ROUNDS):
        if done.left_s <= (before.seconds if before else 0.0):
            break
        short = is_enough_in_short(done, complete)
        requests, kernels = await _round(context, servers, shape.shorten() if short else shape, done)
        if not is_success(requests).all():  # the run itself will report it
            await servers.counters()  # raises if the server is dying
            return
        paused = _has_unexplained_pause(requests, done, servers)
        done.met_in_full |= not kernels and not paused
        now = Pace(float(np.nanmax(requests.finished)), _median(latencies(requests).ttft), short)
        warm = is_warm(now, before, done, complete)
        if warm and not kernels and not paused:
            done.front_ends_warm |= before is not None
            return
        before = now
    done.left_out += before is None
    done.still_compiling += [kernel for kernel in kernels if kernel not in done.still_compiling]


def _median(samples: Floats) -> float:
    return float(np.median(samples)) if len(samples) else 0.0


async def _round(
    context: SessionContext, servers: Servers, shape: Shape, done: Rehearsal
) -> tuple[Requests, list[str]]:
    """Sends the shape once, and returns the kernels that were compiled meanwhile, each once."""
    servers.settle_logs()
    logs = LogPosition.at_end(servers.logs)
    async with telemetry.watch_servers([server.control for server in servers.servers]) as watch:
        forgotten = ForgottenRequests(servers, watch.rows)
        requests, _ = await context.load(_load(context.session, servers, shape), enough=forgotten)
    servers.check_alive()
    servers.settle_logs()
    kernels = done.count([each.kernel for each in logs.find_compilations()])
    done.rounds += 1
    if not kernels and is_success(requests).all():
        done.prefill_rate = max(done.prefill_rate, prefill_rate(requests))
        done.peak_prefill_rate = max(done.peak_prefill_rate, peak_prefill_rate(requests))
    return requests, kernels


def _has_unexplained_pause(requests: Requests, done: Rehearsal, servers: Servers) -> bool:
    engine = EngineFacts(prefill_rate=done.prefill_rate, step_tokens=servers.step_tokens)
    return metrics(requests, engine)["longest_unexplained_stall_ms"] > 0


def _load(session: Session, servers: Servers, shape: Shape) -> Load:
    rng = np.random.default_rng()  # no run sends these prompts
    ids = rng.integers(FIRST_ID, session.model.vocab_size * 3 // 4, int(shape.input_len.sum()), dtype=np.int32)
    return Load(
        endpoints=servers.endpoints,
        prompts=np.split(ids, np.cumsum(shape.input_len)[:-1]),
        output_len=shape.output_len,
        scheduled=np.zeros(len(shape.input_len)),
        max_concurrency=shape.at_once if shape.at_once < len(shape.input_len) else None,
        ignore_eos=session.runs[0].config.workload.ignore_eos,
        timeout_s=SILENCE_S,
    )
