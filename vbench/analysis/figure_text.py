"""How names are written in a figure: on one line, folded, or wrapped. Pure."""

from __future__ import annotations

from collections.abc import Iterable

CHARACTER = 0.0128  # the width of one in a name, as a share of the axes' width
TITLE_ID = "title"  # of its element in an SVG: a page whose heading is the title hides it
LONG_NAME = 24  # characters; a longer name takes a second line


def fold(name: str) -> str:
    """A long name on two lines: hardware and parallelism, below them what differs."""
    words = name.split(" · ")
    return " · ".join(words[:2]) + "\n" + " · ".join(words[2:]) if len(name) > LONG_NAME and words[2:] else name


def name_margin(names: Iterable[str]) -> float:
    """The share of the axes' width that the widest name takes, with some air; at most 45 %."""
    characters = max(len(line) for name in names for line in fold(name).splitlines() or [""])
    return min(CHARACTER * characters + 0.025, 0.45)


def wrap(text: str, width: int) -> list[str]:
    """At most two lines, broken at " · "; the caption has what is cut off."""
    lines = [""]
    for word in text.split(" · "):
        longer = f"{lines[-1]} · {word}" if lines[-1] else word
        lines = [*lines[:-1], longer] if len(longer) <= width or not lines[-1] else [*lines, word]
    first = [cut(line, width) for line in lines[:2]]
    return first if len(lines) <= len(first) else [first[0], f"{first[1]} …"]


def cut(text: str, width: int) -> str:
    """The text in at most that many characters, the last of them … where some are cut off."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"
