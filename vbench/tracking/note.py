"""A summary of a run in a few lines of Markdown, for its page in MLflow. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.metrics.quantiles import count_replies, needs_text
from vbench.metrics.remedies import find_remedy
from vbench.plan.naming import say_name
from vbench.schema.text import one_line
from vbench.tracking.markdown import escape_markdown
from vbench.tracking.view import ANSWERS, HEADLINES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vbench.schema.record import Reason, Record

LONGEST_LINE = 500  # of a log line: short enough for the page and for MLflow's limit on a note


def note(record: Record) -> str:
    """The verdict, why it is not VALID, and the metrics that people look at first."""
    title = f"**{record.verdict}** · {escape_markdown(say_name(record.name))}"
    return "\n".join([title, "", *_status(record), *_failure(record), *_reasons(record), *_table(record)])


def _status(record: Record) -> list[str]:
    """Why MLflow calls a run failed that was measured: a green tick would say that it can be trusted."""
    if record.verdict != "INVALID":
        return []
    return ["MLflow's status FAILED means here: measured, not to be trusted.", ""]


def _failure(record: Record) -> list[str]:
    if not record.failure:
        return []
    line = one_line(record.failure.line.replace("`", "'"))[:LONGEST_LINE]  # a code span has no markup
    return [f"Not measured: **{record.failure.kind}**", "", f"`{line}`", ""]


def _reasons(record: Record) -> list[str]:
    found = (find_remedy(reason.code, record.environment, record.metrics) for reason in record.invalid)
    remedies = [f"- what to do: {escape_markdown(each)}" for each in dict.fromkeys(filter(None, found))]
    lines = [*_bullets("not to be trusted", record.invalid), *remedies, *_bullets("warning", record.warnings)]
    return [*lines, ""] if lines else []


def _bullets(title: str, reasons: Iterable[Reason]) -> list[str]:
    return [
        f"- {title}: **{escape_markdown(reason.code)}**: {escape_markdown(reason.sentence[:LONGEST_LINE])}"
        for reason in reasons
    ]


def _table(record: Record) -> list[str]:
    found = record.metrics
    few = {key: needs_text(key, count_replies(key, found)) for key in HEADLINES}
    rows = [f"| {key} | {few.get(key) or f'{found[key]:,.5g}'} |" for key in (*ANSWERS, *HEADLINES) if key in found]
    return ["| metric | value |", "|---|---:|", *rows] if rows else []
