"""Text from elsewhere, as one line that a terminal, a page or a figure can show. Pure."""

from __future__ import annotations

import math


def one_line(text: object) -> str:
    """The text without line breaks and control characters, so that terminals, figures and pages show it on one line."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text)).split())


def short_number(value: float) -> str:
    """`0.85`, `22.3`, `1,234`: three digits or more; "" for NaN."""
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
