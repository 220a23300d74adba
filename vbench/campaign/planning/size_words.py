"""The lines under the table of a sizing: the answer, what was asked, and what predicted ranges rest on. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vbench.campaign.planning.wording import count, show_dollars
from vbench.plan.cache_dtype import as_served
from vbench.plan.forecast.estimate import Basis
from vbench.plan.sizing.systems import System
from vbench.schema import RunConfig

PREDICTED = (
    "predicted: nine of ten recorded systems, left out of the fit, lie within such ranges; their loads were bursts on "
    "one to four GPUs, so arrivals at a rate and larger splits may be off by more (docs/sizing.md)"
)


def explain(config: RunConfig, systems: Sequence[System], tokens: tuple[float, float]) -> Iterator[str]:
    """`config` is of any system, `systems` has the best one first, `tokens` are of a mean prompt and reply."""
    best, model, (prompt, reply) = systems[0], as_served(config), tokens
    limits = config.workload.slo.limits.items()
    slo = ", ".join(f"{name.removesuffix('_ms').upper()} ≤ {limit:g} ms" for name, limit in limits)
    yield f"answer: {_describe_answer(systems)}{_describe_ties(systems)}"
    yield (
        f"asked: {model.name} with {model.weight_dtype} weights and {model.kv_cache_dtype} KV cache; {best.rate:g} "
        f"requests/s of {config.workload.lengths.value} lengths, on average {prompt:.0f} tokens in and {reply:.0f} out"
        f"; 99 % within {slo}"
    )
    if any(each.capacity.basis is Basis.predicted for each in systems):
        yield PREDICTED


def _describe_answer(systems: Sequence[System]) -> str:
    best = systems[0]
    if best.replicas is None or best.gpus is None:
        unknown = any(math.isinf(each.capacity.high) for each in systems)
        none = "none of these systems" if not unknown else "no system whose capacity is known here"
        return f"{none} bears the load within the SLO"
    system = f"{best.gpu} tp{best.split} with {count(best.replicas, 'replica')}"
    basis = f"its capacity is {best.capacity.basis.name}"
    if best.price is None:
        return f"{system} needs the fewest GPUs: {_show_gpus(best)}; {basis}"
    return f"{system} ({count(best.gpus, 'GPU')}) is the cheapest, {_show_cost(best)} an hour; {basis}"


def _describe_ties(systems: Sequence[System]) -> str:
    """The other systems that cost as much as the best one, and what each bears when one replica fails; else ""."""
    best, *rest = systems
    equal = [each for each in rest if each.cost == best.cost and math.isfinite(each.cost)]
    if not equal:
        return ""
    named = ", ".join(f"{each.gpu} tp{each.split} x {each.replicas} ({_describe_loss(each)})" for each in equal)
    cost = "costs as much" if len(equal) == 1 else "cost as much"
    return f"; {named} {cost}, the first {_describe_loss(best)}"


def _describe_loss(system: System) -> str:
    return f"bears {system.share_after_loss:.0%} of the load after the loss of a replica"


def _show_cost(best: System) -> str:
    value, low = (f"${show_dollars(cost)}" for cost in (best.cost, best.least_cost))
    if best.least_cost == best.most_cost:
        return value
    high = f"${show_dollars(best.most_cost)}" if math.isfinite(best.most_cost) else "any"
    return f"{value} ({low} to {high})"


def _show_gpus(best: System) -> str:
    """Its cost, which without a price is a number of GPUs."""
    if best.least_cost == best.most_cost:
        return f"{best.cost:g}"
    return f"{best.cost:g} ({best.least_cost:g} to {f'{best.most_cost:g}' if math.isfinite(best.most_cost) else 'any'})"
