"""Warnings that qualify a VALID verdict wherever it is shown, because no number shows what they say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vbench.schema.record import Record

GRADES: Mapping[str, str] = {"others_unknown": "other load cannot be told"}  # in words, by code of the warning
REMEDIES: Mapping[str, str] = {
    "others_unknown": "see that nobody else uses the server meanwhile; one that shows vLLM's /metrics is watched"
}


def find_grades(codes: Iterable[str]) -> list[str]:
    """What these warnings leave open, in words; those that qualify nothing are left out."""
    return [GRADES[code] for code in dict.fromkeys(codes) if code in GRADES]


def say_verdict(record: Record) -> str:
    """The verdict in words: "VALID, other load cannot be told"."""
    grades = find_grades(each.code for each in record.warnings) if record.verdict == "VALID" else []
    return ", ".join([record.verdict, *grades])
