"""What `vbench fit` prints: the terms of one point, a row for each point of a grid, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vbench.campaign.fitting.evidence import Measured
from vbench.plan.memory.estimate import Fit, Verdict
from vbench.plan.memory.terms import GIB
from vbench.plan.naming import split_name
from vbench.schema import RunConfig


@dataclass(frozen=True)
class Point:
    """A point, its fit, and what records say of its system."""

    config: RunConfig
    fit: Fit
    measured: Measured | None
    larger: str = ""  # what of this GPU would fit, where the point does not

    @property
    def basis(self) -> str:
        if self.measured is None:
            return "estimated"
        starts = "1 start" if self.measured.starts == 1 else f"{self.measured.starts} starts"
        return f"measured by {starts} of {self.measured.engine_version}"


def write_json(points: Sequence[Point]) -> str:
    """One object for one point, a list for several."""
    listed = [describe(point) for point in points]
    return json.dumps(listed[0] if len(listed) == 1 else listed, indent=1)


def describe(point: Point) -> dict[str, Any]:
    """A point's fit as plain data. Sizes are of the GPU with the least left, in GiB; 0 tokens where it does not fit."""
    fit = point.fit
    return {
        "model": point.config.model.name,
        "hardware": point.config.hardware.name,
        "parallelism": split_name(point.config.parallelism),
        "verdict": fit.verdict.value,
        "max_context_tokens": fit.max_context_tokens,
        "max_model_len": fit.max_model_len,
        "kv_cache_tokens": fit.kv_cache_tokens,
        "weights_gib": round(fit.weights_gib, 3),
        "usable_gib": round(fit.usable.gib, 3),
        "available_gib": round(max(fit.available, 0.0) / GIB, 3),
        "kv_bytes_per_token": fit.kv_bytes_per_token,
        "basis": point.basis,
        **({"larger": point.larger} if point.larger else {}),
        "terms": [
            {
                "name": term.name,
                "gib": round(term.gib, 3),
                "basis": term.basis.value,
                "formula": term.formula,
                "source": term.source,
            }
            for term in fit.terms
        ],
    }


def write_terms(point: Point) -> str:
    """Every term of one point on a line, what is left, and what that holds."""
    fit, config = point.fit, point.config
    rows = [("usable", fit.usable.gib, "", fit.usable.formula, fit.usable.source)]
    rows += [(f"− {term.name}", term.gib, term.basis.value, term.formula, term.source) for term in fit.terms]
    left = fit.available / GIB
    rows += [("= left for the KV cache", left, "", "", "") if left >= 0 else ("= missing", -left, "", "", "")]
    wide = max(len(row[0]) for row in rows)
    lines = [f"{_name_system(config)}: {fit.verdict.value}", ""]
    for name, gib, basis, formula, source in rows:
        line = f"  {name:{wide}} {gib:9.2f} GiB  {basis:8}  {formula}{f'  [{source}]' if source else ''}"
        lines.append(line.rstrip())
    lines += ["", "  On the GPU that has the least left."]
    lines += [f"  KV cache of one token: {fit.kv_bytes_per_token:,.0f} B; {point.basis}."]
    if fit.kv_cache_tokens:
        lines += [f"  KV cache: {fit.kv_cache_tokens:,} tokens at max_model_len {fit.max_model_len:,}."]
    if fit.blocks_override is not None:
        lines += [f"  --num-gpu-blocks-override sets the KV cache to {fit.blocks_override:,} blocks."]
    if fit.max_context_tokens:
        lines += [f"  Longest context: {fit.max_context_tokens:,} tokens."]
    if point.larger:
        lines += ["", f"  {point.larger}"]
    if fit.verdict is Verdict.near:
        lines += ["  Within the error of the estimate: only a start tells."]
    return "\n".join(lines)


def write_table(points: Sequence[Point]) -> str:
    """A row for each point."""
    header = ("system", "weights GiB", "left GiB", "KV tokens", "longest context", "verdict", "basis")
    rows = [header, *map(_list_cells, points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(_align(row, widths) for row in rows)


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, words to the left."""
    cells = [
        text.rjust(wide) if column in range(1, 5) else text.ljust(wide)
        for column, (text, wide) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _name_system(config: RunConfig) -> str:
    return f"{config.model.name} · {config.hardware.name} · {split_name(config.parallelism)}"


def _list_cells(point: Point) -> tuple[str, ...]:
    fit, config = point.fit, point.config
    return (
        _name_system(config),
        f"{fit.weights_gib:,.2f}",
        f"{max(fit.available, 0.0) / GIB:,.2f}",
        f"{fit.kv_cache_tokens:,}",
        f"{fit.max_context_tokens:,}",
        fit.verdict.value,
        point.basis,
    )
