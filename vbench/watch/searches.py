"""Lines that describe an SLO search: one for each probe, and one for the answer. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vbench.metrics.grades import say_verdict
from vbench.plan.naming import number_repeats, say_name
from vbench.schema.record import Record
from vbench.schema.text import short_number

LEVEL_FORMATS = {"max_concurrency": "{:g} at once", "request_rate": "{:g} requests/s", "sessions": "{:g} sessions"}
ANSWER_METRICS = {load: f"slo_{load}" for load in LEVEL_FORMATS}  # in the record of a search


def is_search(record: Record) -> bool:
    """Whether this is the record of a search, with an answer among its metrics."""
    return any(key in record.metrics for key in ANSWER_METRICS.values())


def is_probe(record: Record) -> bool:
    """Whether this is a probe of a search; the campaign does not count the verdicts of probes."""
    return record.parent is not None


def probe_line(record: Record) -> str:
    """A probe in one line, behind its name, which has its level: who met the SLO, the binding objective, the bracket.

    "97.1% of 350 steady requests met the SLO, TPOT p99 51.5 ms; the answer is between 16 and 24 so far"
    """
    metrics = record.metrics
    count = metrics["slo_steady_requests"]
    share = (
        f"{metrics['slo_steady_met'] / count:.1%} of {count:,.0f} steady requests met the SLO"
        if count
        else "no steady request"
    )
    parts = [share, *_binding_objective(metrics, _slo_limits(record))]
    left = metrics.get("slo_requests_left")
    limit = "" if left is None else f", at most {left:,.0f} more requests"
    return f"{', '.join(parts)}; {_describe_bracket(metrics)}{limit}"


def answer_line(record: Record) -> str:
    """The answer of a search: "22 at once meets TTFT ≤ 500 ms, TPOT ≤ 50 ms; 23 misses: TPOT p99 51.5 ms"."""
    metrics, limits = record.metrics, _slo_limits(record)
    load = next(load for load, key in ANSWER_METRICS.items() if key in metrics)
    slo = ", ".join(f"{_objective_name(key)} ≤ {limit:g} ms" for key, limit in limits.items())
    failed = metrics.get("slo_level_failed")
    level = metrics[ANSWER_METRICS[load]]
    untrusted = next((each.sentence for each in record.invalid if each.code == "untrusted_probes"), "")
    if untrusted and not level:
        return f"no answer: probes could not be trusted, so whether any level meets {slo} is not known"
    passed = f"{LEVEL_FORMATS[load].format(level)} meets {slo}" if level else f"no level meets {slo}"
    if untrusted:
        return f"{passed}; {untrusted}"
    if failed is None:
        return f"{passed}; nothing higher was tried{_describe_moment(metrics)}"
    reason = "".join(f": {text}" for text in _binding_objective(metrics, limits, least=1.0))
    return f"{passed}; {failed:g} misses{reason}{_describe_moment(metrics)}{_describe_interval(metrics)}"


def answer_lines(records: Sequence[Record]) -> list[str]:
    """One line for each search among the records: its name, its answer and, unless plainly VALID, its verdict."""
    searches = [record for record in records if is_search(record)]
    repeats = number_repeats(record.name for record in searches)
    return [
        f"{say_name(record.name, repeats)}: {answer_line(record)}"
        + ("" if (verdict := say_verdict(record)) == "VALID" else f" ({verdict})")
        for record in searches
    ]


def _describe_bracket(metrics: Mapping[str, float]) -> str:
    """Between which levels the answer lies after a probe. A probe that was not trusted moves neither of them."""
    level, passed, failed = metrics["slo_level"], metrics["slo_level_passed"], metrics.get("slo_level_failed")
    where = f"above {passed:g}" if failed is None else f"between {passed:g} and {failed:g}"
    is_open = passed < level < (math.inf if failed is None else failed)
    return f"the answer is {where} so far" + (f", {level:g} is undecided" if is_open else "")


def _binding_objective(metrics: Mapping[str, float], limits: Mapping[str, float], least: float = 0.0) -> list[str]:
    """The objective whose 99th percentile is the largest multiple of its limit; empty if that is not above `least`."""
    ratios = {key: metrics[f"slo_p99_{key}"] / limit for key, limit in limits.items() if f"slo_p99_{key}" in metrics}
    if not ratios or max(ratios.values()) <= least:
        return []
    key = max(ratios, key=lambda each: ratios[each])
    return [f"{_objective_name(key)} p99 {metrics[f'slo_p99_{key}']:,.1f} ms"]


def _describe_interval(metrics: Mapping[str, float]) -> str:
    """Between which levels the capacity lies, if the search found more than its bracket."""
    if "slo_capacity_low" not in metrics:
        return ""
    low, high = (short_number(metrics[f"slo_capacity_{end}"]) for end in ("low", "high"))
    return f"; 99 % met up to {low}–{high} (90 % sure)"


def _describe_moment(metrics: Mapping[str, float]) -> str:
    """What a pause of the engine may have done to the answer, and which probe therefore counts for nothing."""
    doubtful = metrics.get("slo_failed_in_one_moment", 0.0) > 0
    doubt = ", in one moment only: if the engine paused then, the answer is too low" if doubtful else ""
    aside = metrics.get("slo_level_set_aside")
    told = "" if aside is None else f"; a probe of {aside:g} that missed in one moment only was set aside"
    return doubt + told


def _objective_name(key: str) -> str:
    return key.removesuffix("_ms").upper()


def _slo_limits(record: Record) -> dict[str, float]:
    return {key: limit for key, limit in record.config["workload"]["slo"].items() if limit is not None}
