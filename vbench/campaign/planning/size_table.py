"""The answer of a sizing, as a table and as plain data. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from vbench.campaign.planning.wording import show_number
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.systems import System
from vbench.schema import to_plain

HEAD = (
    "GPU", "split", "replicas", "GPUs", "$/h", "$/M out", "$/M in", "headroom", "one lost", "$/h with a spare",
    "requests/s a replica", "basis",
)  # fmt: skip

MANIFOLD = 10.0  # headroom from which a percentage is hard to read


def show_systems(systems: Sequence[System], tokens: tuple[float, float]) -> Iterator[str]:
    """The lines of the table, the best system first; `tokens` are those of a mean prompt and reply."""
    priced = any(each.price is not None for each in systems)
    rows = [HEAD if priced else tuple("GPUs (cost)" if name == "$/h" else name for name in HEAD)]
    rows += [_row(each, tokens) for each in systems if math.isfinite(each.cost)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for each in systems:
        if not math.isfinite(each.cost):
            yield f"{each.gpu} tp{each.split}: {_explain(each.capacity)}"
    yield ("$/M puts all costs on the tokens in, or on those out; in parentheses: by the range of requests/s a replica")


def describe(systems: Sequence[System], tokens: tuple[float, float]) -> list[dict[str, Any]]:
    """The systems as plain data, the best first; null where a system does not bear the load."""
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
            "cost_per_hour": _finite(each.cost),
            "cost_per_hour_low": _finite(each.least_cost),
            "cost_per_hour_high": _finite(each.most_cost),
            "cost_per_hour_with_spare": _finite(each.spare_cost),
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


def _row(each: System, tokens: tuple[float, float]) -> tuple[str, ...]:
    prompt, reply = tokens
    capacity = each.capacity
    return (
        each.gpu,
        f"tp{each.split}",
        str(each.replicas),
        str(each.gpus),
        _ranged(each.cost, each.least_cost, each.most_cost),
        _money(each.dollars_per_million(reply)),
        _money(each.dollars_per_million(prompt)),
        f"{each.headroom:.0%}" if each.headroom < MANIFOLD else f"{each.headroom:,.0f} times",
        f"bears {each.share_after_loss:.0%}",
        show_number(each.spare_cost),
        _ranged(capacity.value, capacity.low, capacity.high),
        capacity.basis.name,
    )


def _ranged(value: float, low: float, high: float) -> str:
    if low == high:
        return show_number(value)
    return f"{show_number(value)} ({show_number(low)} to {show_number(high) if math.isfinite(high) else 'any'})"


def _money(dollars: float | None) -> str:
    return "" if dollars is None else show_number(dollars)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
