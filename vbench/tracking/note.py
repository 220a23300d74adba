"""A run in a few lines of Markdown, for MLflow's page of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.tracking.view import HEADLINES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vbench.schema.record import Reason, Record

LONGEST_LINE = 500  # of a log: enough to tell, short enough for the page and for MLflow's limit on a note


def note(record: Record) -> str:
    """The verdict, why it is not VALID, and the metrics that people ask for first."""
    title = f"**{record.verdict}** · {record.name}"
    return "\n".join([title, "", *_failure(record), *_reasons(record), *_table(record)])


def _failure(record: Record) -> list[str]:
    if not record.failure:
        return []
    line = " ".join(record.failure.line.replace("`", "'").split())[:LONGEST_LINE]
    return [f"Not measured: **{record.failure.kind}**", "", f"`{line}`", ""]


def _reasons(record: Record) -> list[str]:
    lines = [*_bullets("not to be trusted", record.invalid), *_bullets("warning", record.warnings)]
    return [*lines, ""] if lines else []


def _bullets(title: str, reasons: Iterable[Reason]) -> list[str]:
    return [f"- {title}: **{reason.code}**: {reason.sentence[:LONGEST_LINE]}" for reason in reasons]


def _table(record: Record) -> list[str]:
    rows = [f"| {key} | {record.metrics[key]:,.5g} |" for key in HEADLINES if key in record.metrics]
    return ["| metric | value |", "|---|---:|", *rows] if rows else []
