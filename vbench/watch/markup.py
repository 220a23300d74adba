"""Lines for the terminal. Names, paths and other programs' messages are escaped here and nowhere else.

Such text may contain square brackets, which rich would parse as markup: `[rank0]: …` would vanish, `[/x]` would raise.
"""

from __future__ import annotations

from rich.markup import escape


def fill_markup(template: str, *values: object) -> str:
    """Fills each `{}` of a template in rich's markup with a value; the values are escaped and appear literally."""
    return template.format(*(escape(str(value)) for value in values))
