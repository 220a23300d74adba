"""What a report says first: its campaign, what was measured, and the sentences that people came for. Pure.

Every sentence is computed from the sections of the report, with its interval and its grounds. Where the data does not
decide, the sentence says so. To add an answer, write a file with a function from runs, sections and options to
sentences, and add it to QUESTIONS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vbench.analysis.answers import against_baseline, best_system, bounds, parallelism, unanswered
from vbench.analysis.conditions import find_values
from vbench.analysis.phrases import NOT_VLLM, label_phrase
from vbench.analysis.unfinished import say_unfinished
from vbench.metrics.grades import find_grades

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section

QUESTIONS: tuple[tuple[str, Callable[[Runs, list[Section], Options], list[str]]], ...] = (
    ("Against the baseline", against_baseline.sentences),
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
    named = f"{whole} against {options.against}" if options.against else whole
    engines = sorted(_name_other_engines(runs))
    return f"{named} ({'; '.join(engines)})" if engines else named


def _name_other_engines(runs: Runs) -> set[str]:
    """What served the runs where it was not vLLM: a fake server's figures are no measurement of an engine."""
    sides = [each.all for each in (runs, runs.baseline) if each is not None]
    commands = {value for rows in sides if COMMAND in rows for value in find_values(rows, COMMAND)}
    return {words for value in commands if (words := label_phrase(COMMAND, value)).startswith(NOT_VLLM)}


def _measured(runs: Runs) -> str:
    counts = {"VALID": len(runs.used_runs), **{each: (runs.left_out["verdict"] == each).sum() for each in LEFT_OUT}}
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()) + _grades(runs)
    told += f"; {say_unfinished(runs)}" if runs.to_come else ""
    return f"{told} (INVALID: measured, not to be trusted; FAILED: not measured)" if len(runs.left_out) else told


def _grades(runs: Runs) -> str:
    """What could not be told of VALID runs, and of how many, the baseline's among them."""
    sides = [each.used_runs["warnings"].dropna() for each in (runs, runs.baseline) if each is not None]
    counts = Counter(words for side in sides for codes in side for words in find_grades(codes.split()))
    return "".join(f"; {words} of {count:,} VALID" for words, count in counts.items())


COMMAND = "engine.command"
LEFT_OUT = ("INVALID", "FAILED")
