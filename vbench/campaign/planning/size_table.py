"""The answer of a sizing, as a table and as plain data. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vbench.campaign.planning.wording import show_dollars, show_number
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.systems import System
from vbench.schema import to_plain

MANIFOLD = 10.0  # headroom from which a percentage is hard to read
MONEY = "$/M puts all costs on the tokens in, or on those out; in parentheses: by the range of requests/s a replica"
NO_MONEY = "no price set, so GPUs are the cost: 'prices={{{gpu}: …}}' sets $ an hour of one GPU"
ONE_LOST = (
    "one lost: the share of the load that the other replicas bear within the SLO when one fails; a spare: one more"
)


def show_systems(systems: Sequence[System], tokens: tuple[float, float]) -> Iterator[str]:
    """The lines of the table, the best system first; `tokens` are those of a mean prompt and reply.

    It speaks of money only if the systems have prices.
    """
    priced = any(each.price is not None for each in systems)
    rows = [_row(each, tokens, priced=priced) for each in systems if math.isfinite(each.cost)]
    lines = [tuple(rows[0]), *(tuple(row.values()) for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    for each in systems:
        if not math.isfinite(each.cost):
            yield f"{each.gpu} tp{each.split}: {_explain(each.capacity)}"
    if rows:
        yield ONE_LOST
    yield MONEY if priced else NO_MONEY.format(gpu=systems[0].gpu)


def describe(systems: Sequence[System], tokens: tuple[float, float]) -> list[dict[str, Any]]:
    """The systems as plain data, the best first; null where a system does not bear the load, or has no price."""
    prompt, reply = tokens
    return [
        {
            "gpu": each.gpu,
            "tensor_parallel_size": each.split,
            "replicas": each.replicas,
            "gpus": each.gpus,
            "basis": each.capacity.basis.name,  # of the whole row
            "requests_per_s_per_replica": {
                **to_plain(each.capacity),
                "high": _finite(each.capacity.high),
            },
            "price_per_hour": each.price,
            "cost_per_hour": _dollars(each, each.cost),
            "cost_per_hour_low": _dollars(each, each.least_cost),
            "cost_per_hour_high": _dollars(each, each.most_cost),
            "cost_per_hour_with_spare": _dollars(each, each.spare_cost),
            "dollars_per_million_output_tokens": each.dollars_per_million(reply),
            "dollars_per_million_input_tokens": each.dollars_per_million(prompt),
            "headroom": each.headroom if each.replicas else None,
            "share_after_loss": each.share_after_loss if each.replicas else None,
        }
        for each in systems
    ]


def _explain(capacity: Estimate) -> str:
    """Why a system bears nothing."""
    if capacity.basis is Basis.assumed:
        return capacity.source
    return f"does not meet the SLO at any rate ({capacity.basis.name})"


def _row(each: System, tokens: tuple[float, float], *, priced: bool) -> dict[str, str]:
    """The cells of a system by column. Without prices its cost is its GPUs."""
    prompt, reply = tokens
    capacity, costs = each.capacity, (each.cost, each.least_cost, each.most_cost)
    cost = _ranged(*costs, show_dollars if priced else "{:,g}".format)
    money = {
        "$/h": cost,
        "$/M out": _money(each.dollars_per_million(reply)),
        "$/M in": _money(each.dollars_per_million(prompt)),
    }
    spare = (
        {"$/h with a spare": show_dollars(each.spare_cost)} if priced else {"GPUs with a spare": f"{each.spare_cost:g}"}
    )
    return {
        "GPU": each.gpu,
        "split": f"tp{each.split}",
        "replicas": str(each.replicas),
        "GPUs": str(each.gpus) if priced else cost,
        **(money if priced else {}),
        "headroom": f"{each.headroom:.0%}" if each.headroom < MANIFOLD else f"{each.headroom:,.0f} times",
        "one lost": f"bears {each.share_after_loss:.0%}",
        **spare,
        "requests/s a replica": _ranged(capacity.value, capacity.low, capacity.high),
        "basis": capacity.basis.name,
    }


def _ranged(value: float, low: float, high: float, show: Callable[[float], str] = show_number) -> str:
    """`3.2 (2.1 to 4.8)`."""
    if low == high:
        return show(value)
    return f"{show(value)} ({show(low)} to {show(high) if math.isfinite(high) else 'any'})"


def _money(dollars: float | None) -> str:
    return "" if dollars is None else show_dollars(dollars)


def _dollars(each: System, cost: float) -> float | None:
    """None without a price: the cost is then a number of GPUs."""
    return None if each.price is None else _finite(cost)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
