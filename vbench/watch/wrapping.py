"""Lines of text broken between words, never inside one: a path or a command can be copied as it stands. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

WORD = re.compile(r"\S+\s*")


def wrap_words(line: Text, width: int) -> Iterator[Text]:
    """The line in parts that fit the width, with its indent.

    A word that does not fit has a line of its own, whole: the terminal wraps it, and knows that it is one line.
    """
    plain = line.plain
    indent = plain[: len(plain) - len(plain.lstrip())]
    breaks, used = [], cell_len(indent)
    for word in WORD.finditer(plain, len(indent)):
        if word.start() > len(indent) and used + cell_len(word[0].rstrip()) > width:
            breaks.append(word.start())
            used = cell_len(indent)
        used += cell_len(word[0])
    for number, part in enumerate(line.divide(breaks)):
        part.rstrip()
        yield Text(indent) + part if number else part
