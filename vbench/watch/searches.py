"""What people read of an SLO search: each probe as it ends, and the answer. Pure: records in, sentences out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vbench.schema.record import Record

LEVELS = {"max_concurrency": "{:g} at once", "request_rate": "{:g} requests/s"}
PROBED = {key: f"slo_{key}" for key in LEVELS}  # of a search's record: its answer


def is_search(record: Record) -> bool:
    """Whether this is the record of a search, which has an answer."""
    return any(key in record.metrics for key in PROBED.values())


def is_probe(record: Record) -> bool:
    """Whether a search measured this, so that its verdict is not one of the campaign's."""
    return record.parent is not None


def probe_line(record: Record) -> str:
    """A probe in one line: its level, the share that met the SLO, the binding objective, and the bracket after it.

    "24 at once: 97.1% of 350 steady requests met the SLO, TPOT p99 51.5 ms; the answer is between 16 and 24 so far"
    """
    found, kind = record.metrics, _kind_of_probe(record)
    count = found["slo_steady_requests"]
    share = (
        f"{found['slo_steady_met'] / count:.1%} of {count:,.0f} steady requests met the SLO"
        if count
        else "no steady request"
    )
    passed, failed = found["slo_level_passed"], found.get("slo_level_failed")
    where = f"above {passed:g}" if failed is None else f"between {passed:g} and {failed:g}"
    parts = [share, *_binding(found, _limits(record))]
    return f"{LEVELS[kind].format(found['slo_level'])}: {', '.join(parts)}; the answer is {where} so far"


def answer_line(record: Record) -> str:
    """The answer of a search: "22 at once meets TTFT ≤ 500 ms, TPOT ≤ 50 ms; 23 misses: TPOT p99 51.5 ms"."""
    found, limits = record.metrics, _limits(record)
    kind = next(kind for kind, key in PROBED.items() if key in found)
    slo = ", ".join(f"{_objective(key)} ≤ {limit:g} ms" for key, limit in limits.items())
    failed = found.get("slo_level_failed")
    level = found[PROBED[kind]]
    passed = f"{LEVELS[kind].format(level)} meets {slo}" if level else f"no level meets {slo}"
    if failed is None:
        return f"{passed}; nothing higher was tried"
    reason = "".join(f": {text}" for text in _binding(found, limits))
    return f"{passed}; {failed:g} misses{reason}"


def answers(records: Sequence[Record]) -> list[str]:
    """The answers of all searches among the records, each with the search's name and, if not trusted, its verdict."""
    found = [record for record in records if is_search(record)]
    return [
        f"{record.name}: {answer_line(record)}" + ("" if record.verdict == "VALID" else f" ({record.verdict})")
        for record in found
    ]


def _binding(found: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    """The objective whose 99th percentile is highest above its limit, or nearest to it; empty if none is known."""
    ratios = {key: found[f"slo_p99_{key}"] / limit for key, limit in limits.items() if f"slo_p99_{key}" in found}
    if not ratios:
        return []
    key = max(ratios, key=lambda each: ratios[each])
    return [f"{_objective(key)} p99 {found[f'slo_p99_{key}']:,.1f} ms"]


def _objective(key: str) -> str:
    return key.removesuffix("_ms").upper()


def _limits(record: Record) -> dict[str, float]:
    return {key: limit for key, limit in record.config["workload"]["slo"].items() if limit is not None}


def _kind_of_probe(record: Record) -> str:
    load = record.config["workload"]
    return "max_concurrency" if load["max_concurrency"] == record.metrics["slo_level"] else "request_rate"
