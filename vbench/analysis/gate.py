"""`fail_if`: whether a comparison with a baseline failed, passed, or is undecided. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from vbench.analysis.ratios import ratio_text
from vbench.schema.errors import Refused

FAILED, PASSED, UNDECIDED = "failed", "passed", "undecided"
EXIT_CODES = {PASSED: 0, FAILED: 1, UNDECIDED: 3}
ONE_START = "What another start of the server would change is not in the interval: engine.restarts=3 measures it"
MOST_NAMED = 5  # rows in the line; the table has them all


class Gate(NamedTuple):
    """`output_throughput<0.97`: the ratio to the baseline that fails."""

    metric: str
    sign: str
    limit: float

    def judge(self, low: float, high: float) -> str:
        """Failed or passed if the whole interval lies on one side of the limit, otherwise undecided."""
        below = self.sign == "<"
        if high < self.limit:
            return FAILED if below else PASSED
        if low > self.limit:
            return PASSED if below else FAILED
        return UNDECIDED

    def is_of_hosts(self, low: float, high: float, slower: float) -> bool:
        """Whether the interval decides only as long as unlike hosts had no part in it.

        `slower`: how many times as slow those of the new side were. A slower host lowers what `<` watches, and raises
        what `>` watches, by at most as much.
        """
        corrected = slower if self.sign == "<" else 1 / slower
        ends = low * min(corrected, 1.0), high * max(corrected, 1.0)
        return self.judge(*ends) == UNDECIDED != self.judge(low, high)


@dataclass(frozen=True)
class Outcome:
    """What the gate found: FAILED, PASSED or UNDECIDED, and one line that says which rows decided and what to do."""

    verdict: str
    line: str

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def parse_gate(words: str) -> Gate:
    """Raises Refused if the words are no gate."""
    found = re.fullmatch(r"\s*(\w+)\s*([<>])\s*(\d*\.?\d+)\s*", words)
    if not found:
        raise Refused(f"fail_if={words}: must be a metric, < or >, and a ratio, as output_throughput<0.97")
    return Gate(found[1], found[2], float(found[3]))


def judge(data: pd.DataFrame | None, why: str, words: str, first: str = "") -> Outcome:
    """Judges the rows of `mean_ratios`: model_label, system_label, metric, the ratio with its interval, and
    `host_slower`: how many times as slow the new side's hosts were.

    One row that fails is enough to fail; all must pass to pass. `why` says why there is no data, where there is none;
    `first` what to do before more is measured, where runs are missing.
    """
    gate = parse_gate(words)
    rows = [] if data is None else list(data[data["metric"] == gate.metric].itertuples())
    if not rows:
        line = f"{words}: {why or 'no point was measured on both sides'}"
        return Outcome(UNDECIDED, f"{line}. {_begin(first)}" if first else line)
    verdicts = [_judge_row(gate, row) for row in rows]
    verdict = next(each for each in (FAILED, UNDECIDED, PASSED) if each in verdicts)
    deciding = [row for row, each in zip(rows, verdicts, strict=True) if each == verdict]
    named = "; ".join(_describe(row) for row in deciding[:MOST_NAMED])
    more = f"; and {len(deciding) - MOST_NAMED} more" if len(deciding) > MOST_NAMED else ""
    advice = f". {_begin(first) or _next_step(deciding, gate)}" if verdict == UNDECIDED else ""
    single = f". {ONE_START}" if verdict != UNDECIDED and _is_of_one_start(deciding) else ""
    return Outcome(verdict, f"{words}: {named}{more}{advice}{single}")


def _judge_row(gate: Gate, row: Any) -> str:
    if not row.interval_from or gate.is_of_hosts(row.low, row.high, row.host_slower):
        return UNDECIDED
    return gate.judge(row.low, row.high)


def _is_of_one_start(rows: list[Any]) -> bool:
    return any(row.interval_from != "starts" for row in rows)


def _begin(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _describe(row: Any) -> str:
    label = " · ".join(each for each in (row.model_label, row.system_label) if each)
    points = f"at {row.points} point{'s' if row.points > 1 else ''}"
    if math.isnan(row.value):
        return f"{label} has no ratio {points}, because it is 0 in a run"
    return f"{label} is {ratio_text(row)} of the baseline {points}"


def _next_step(rows: list[Any], gate: Gate) -> str:
    if any(math.isnan(row.value) for row in rows):
        return "A ratio needs numbers above 0 in every run"
    if not all(row.interval_from for row in rows):
        return "Without repeats that differ there is no interval: measure both sides with workload.repeats=3"
    unlike = [row.host_slower for row in rows if gate.is_of_hosts(row.low, row.high, row.host_slower)]
    if unlike:
        times = max(unlike, key=lambda each: abs(math.log(each)))
        side = "new side" if times > 1 else "baseline"
        return (
            f"The hosts of the {side} were {max(times, 1 / times):.1f} times slower, which may be all of it: "
            "measure both again in turns, on one host that keeps its speed (engine.restarts=3)"
        )
    more = "more repeats (workload.repeats) or starts (engine.restarts)"
    return f"The interval holds the limit {gate.limit:g}: measure both sides with {more}"
