"""Text from elsewhere, as one line that a terminal, a page or a figure can show. Pure."""

from __future__ import annotations


def one_line(text: object) -> str:
    """The text without line breaks and control characters, so that terminals, figures and pages show it on one line."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text)).split())
