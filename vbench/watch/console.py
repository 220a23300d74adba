"""Where a command prints: a terminal of some width, or a pipe or file, which has none."""

from __future__ import annotations

import os

from rich.console import Console

PIPED = 200  # characters: tables are as wide as they need; COLUMNS sets another width


def open_console() -> Console:
    """The console of stdout. Tables in a pipe or file are as wide as COLUMNS says, else up to PIPED characters."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED
    return console
