"""What a report says first: its campaign, what was measured, and the sentences that people came for. Pure.

Every sentence is computed from the sections of the report, with its interval and its grounds. Where the data does not
decide, the sentence says so. To add an answer, write a file with a function from runs, sections and options to
sentences, and add it to QUESTIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vbench.analysis.answers import best_system, bounds, parallelism, unanswered
from vbench.analysis.unfinished import say_unfinished

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section

QUESTIONS: tuple[tuple[str, Callable[[Runs, list[Section], Options], list[str]]], ...] = (
    ("Which system gives the most", best_system.sentences),
    ("Tensor or data parallel", parallelism.sentences),
    ("What bounds the systems", bounds.sentences),
    ("What this cannot tell", unanswered.sentences),
)


@dataclass(frozen=True)
class Answer:
    """The beginning of a report, in plain text: names in it come from records and are still to be escaped."""

    title: str  # the campaign's name
    measured: str  # how many runs, by verdict
    parts: tuple[tuple[str, tuple[str, ...]], ...]  # a question and the sentences that answer it


def answer(runs: Runs, found: list[Section], options: Options) -> Answer:
    """The answer of a report with these sections."""
    parts = [(question, tuple(sentences(runs, found, options))) for question, sentences in QUESTIONS]
    return Answer(_title(runs, options), _measured(runs), tuple(part for part in parts if part[1]))


def _title(runs: Runs, options: Options) -> str:
    names = sorted(set(runs.all["experiment"]))
    whole = options.experiment or (names[0] if len(names) == 1 else f"{len(names)} experiments: {', '.join(names)}")
    return f"{whole} against {options.against}" if options.against else whole


def _measured(runs: Runs) -> str:
    counts = {"VALID": len(runs.used_runs), **{each: (runs.left_out["verdict"] == each).sum() for each in LEFT_OUT}}
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    told += f"; {say_unfinished(runs)}" if runs.to_come else ""
    return f"{told} (INVALID: measured, not to be trusted; FAILED: not measured)" if len(runs.left_out) else told


LEFT_OUT = ("INVALID", "FAILED")
