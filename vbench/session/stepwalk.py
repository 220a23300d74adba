"""The part of the rehearsal for engines whose kernels depend on the exact number of tokens in a prefill step.

The routing kernels of vLLM 0.26's MXFP4 experts take ceil(tokens / 32) * 32 as a compile-time constant, and Triton
compiles each once more for token counts that 16 divides. Steps up to the largest CUDA graph are padded to the sizes
captured at the start; each size beyond compiles two kernels, one after the other: 1.5 to 2.4 s a size on an H200.

A sample of sizes is sent first, each twice. If most of them made the engine compile, all sizes follow, largest first.
Where a server has several engines, nothing is walked: experts meet the tokens of all engines together, in any mixture,
and who gets a prompt is the server's choice.

What a size takes longer than expected tells whether Triton's cache on disk had its kernels. Steps that compile have a
budget of their own, as each is needed once on a host: the next session finds the kernels in the cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vbench.engine.compilelog import VERBOSE_MONITOR, LogPosition
from vbench.plan.sessions import Session
from vbench.session.context import Servers, SessionContext
from vbench.session.measuring import longest_context
from vbench.session.rehearsal_facts import Rehearsal
from vbench.workload.prompts import FIRST_ID

STRIDE = 32  # tokens: steps with the same ceil(tokens / 32) share their kernels, …
DIVISOR, ODD = 16, 7  # … if 16 divides the tokens of both or of neither: each multiple of 32 is sent, and 7 less
SAMPLE_GROWTH = 1.25  # between the sizes of the sample
COLD_S = 0.2  # a compilation takes about a second, loading a kernel from Triton's cache some milliseconds
COLD_BUDGET_S = 480.0  # for the steps that compile, in one session
WALK_SHARE = 0.75  # of the ordinary budget left, for the other steps: the bursts of the runs' own shapes need some, too
FOLLOWING_SHARE = 0.5  # of the sampled sizes that compiled: beyond it, every size compiles


class Step(NamedTuple):
    """One prefill step that was sent; `kernels` as logged meanwhile, one name a line."""

    tokens: int
    seconds: float
    kernels: tuple[str, ...]


class Finding(NamedTuple):
    """What a sample shows: whether sizes not divisible by 16, and those divisible, have kernels of their own."""

    odd: bool
    divisible: bool
    tokens_per_s: float  # of a step that compiles nothing


def compiles_by_step(session: Session, done: Rehearsal) -> bool:
    """Whether step sizes are worth a sample: on GPUs and for models with experts if the log has compilations, or both.

    Without an NVIDIA GPU and without any compilation there is no Triton at work.
    """
    gpus, experts = bool(session.hardware.gpus), bool(session.model.num_experts)
    return (gpus and experts) or ((gpus or experts) and bool(done.compiled))


def one_step(tokens: int, context: int) -> tuple[int, int]:
    """(requests at once, tokens of each prompt) that make one prefill step of about this many tokens."""
    together = -(-tokens // max(1, context - 1))
    alone = together > 1  # the first request to arrive makes one step alone, and the others make the next
    return together + alone, tokens // together


def sample_sizes(most: int, least: int) -> list[int]:
    """Tokens of the sampled steps beyond `least`, largest first: each size not divisible by 16, then divisible."""
    smallest = max(least, 0) + STRIDE
    count = int(np.log(most / smallest) / np.log(SAMPLE_GROWTH)) + 1 if most >= smallest else 0
    tops = [int(most / SAMPLE_GROWTH**place) // STRIDE * STRIDE for place in range(count)]
    return _in_pairs(list(dict.fromkeys(tops)))


def walk_sizes(most: int, least: int, finding: Finding) -> list[int]:
    """All sizes beyond `least` that have kernels of their own: largest first, those divisible by 16 after the others.

    A step is divisible by 16 once in 16 times, or if it is full.
    """
    tops = [top for top in range(most // STRIDE * STRIDE, 0, -STRIDE) if top > least]
    odd = [top - ODD for top in tops] if finding.odd else []
    return odd + (tops if finding.divisible else [])


def judge_sample(first: Sequence[Step], again: Sequence[Step], exact: bool) -> Finding:
    """What the sample, sent twice, shows. If `exact`, the log has every compilation; otherwise only time tells."""
    pairs = list(zip(first, again, strict=True))

    def follows(divisible: bool) -> bool:
        alike = [(one, other) for one, other in pairs if (one.tokens % DIVISOR == 0) is divisible]
        compiled = [one for one, other in alike if (one.kernels if exact else one.seconds - other.seconds > COLD_S)]
        return len(compiled) > FOLLOWING_SHARE * len(alike)

    tokens_per_s = max((each.tokens / each.seconds for each in again), default=0.0)
    return Finding(odd=follows(False), divisible=follows(True), tokens_per_s=tokens_per_s)


async def walk_step_sizes(context: SessionContext, servers: Servers, done: Rehearsal) -> None:
    """Sends a sample of step sizes, and all others if each size has kernels of its own.

    Stops once the steps that compiled have taken COLD_BUDGET_S, or the others their share of the ordinary budget.
    """
    most, least = _largest_step(context, servers), int(servers.facts.get("max_cudagraph_capture_size", 0))
    sample = sample_sizes(most, least)
    first, again = list[Step](), list[Step]()
    for tokens in sample:
        for steps in (first, again):
            step = await _send(context, servers, tokens, done)
            if step is None:
                return
            steps.append(step)
    finding = judge_sample(first, again, exact=servers.facts.get("kernel_monitor") == VERBOSE_MONITOR)
    done.peak_prefill_rate = max(done.peak_prefill_rate, finding.tokens_per_s * len(servers.servers))
    for one, other in zip(first, again, strict=True):
        done.add_cold(max(one.seconds - other.seconds, 0.0), COLD_S)
    others = [tokens for tokens in walk_sizes(most, least, finding) if tokens not in sample]
    warm_s, warm_budget_s = 0.0, WALK_SHARE * done.left_s
    report = context.events.write_rehearsing(len(others))
    for place, tokens in enumerate(others):
        if done.cold_s >= COLD_BUDGET_S or warm_s >= warm_budget_s:
            done.steps_left_out = len(others) - place
            return
        step = await _send(context, servers, tokens, done)
        if step is None:
            return
        usual_s = tokens / finding.tokens_per_s
        if not done.add_cold(step.seconds - usual_s, COLD_S):
            warm_s += step.seconds
        report(place + 1)


async def _send(context: SessionContext, servers: Servers, tokens: int, done: Rehearsal) -> Step | None:
    """Sends one step of this size to every server; None if one refuses it."""
    servers.settle_logs()
    logs = LogPosition.at_end(servers.logs)
    together = -(-tokens // (longest_context(servers, context.session.model) - 1))
    took = await asyncio.gather(
        *(
            server.control.prefill(server.endpoint.model, _draw_prompts(context.session, tokens, together))
            for server in servers.servers
        )
    )
    servers.check_alive()
    servers.settle_logs()
    kernels = tuple(each.kernel for each in logs.find_compilations())
    done.count(kernels)
    done.steps += 1
    seconds = [each for each in took if each is not None]
    return Step(tokens, max(seconds), kernels) if len(seconds) == len(took) else None


def _largest_step(context: SessionContext, servers: Servers) -> int:
    """Tokens of the largest step that prompts within the context can fill."""
    seats = context.session.engine.max_num_seqs or servers.step_tokens
    return min(servers.step_tokens, seats * (longest_context(servers, context.session.model) - 1))


def _draw_prompts(session: Session, tokens: int, together: int) -> list[list[int]]:
    rng = np.random.default_rng()  # no run sends these prompts, and none is sent twice
    ids = rng.integers(FIRST_ID, session.model.vocab_size * 3 // 4, tokens)
    return [part.tolist() for part in np.array_split(ids, together)]


def _in_pairs(tops: Sequence[int]) -> list[int]:
    return [size for top in tops for size in (top - ODD, top)]
