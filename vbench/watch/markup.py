"""Lines for the terminal: the one place where names, paths and other programs' words are escaped.

Such text may hold square brackets, which rich would take for markup: `[rank0]: …` vanishes, `[/x]` raises.
"""

from __future__ import annotations

from rich.markup import escape


def marked_up(template: str, *values: object) -> str:
    """The template, in rich's markup, with each value in place of a `{}`, shown as it is."""
    return template.format(*(escape(str(value)) for value in values))
