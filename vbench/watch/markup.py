"""Lines for the terminal. Names, paths and other programs' messages are escaped here and nowhere else.

Such text may contain square brackets, which rich would parse as markup: `[rank0]: …` would vanish, `[/x]` would raise.
It may also contain control characters, which would move the cursor or rename the window, and secrets.
"""

from __future__ import annotations

from rich.markup import escape

from vbench.schema.secrets import redact
from vbench.schema.text import one_line


def literal(value: object) -> str:
    """The value as one line of text in rich's markup that appears literally, without secrets."""
    return escape(one_line(redact(str(value))))


def fill_markup(template: str, *values: object) -> str:
    """Fills each `{}` of a template in rich's markup with a value; the values are escaped and appear literally."""
    return template.format(*map(literal, values))
