"""Durations as people read them. Pure."""

from __future__ import annotations


def say_duration(seconds: float) -> str:
    """`1 h 05 min`, `12 min`, `40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min" if minutes else f"{rest} s"


def say_milliseconds(value: float) -> str:
    """`22.3 ms`, `412 ms`."""
    return f"{value:,.1f} ms" if value < 100 else f"{value:,.0f} ms"


def say_usual(seconds: float | None) -> str:
    """` (usually 40 s)`; nothing if it is not known, or too short to wait for."""
    return f" (usually {say_duration(seconds)})" if seconds and seconds >= 1 else ""
