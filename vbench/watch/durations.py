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


def say_usual(seconds: tuple[float, float] | None) -> str:
    """` (usually 26 s to 1 min)`; nothing if none is known, or if all were too short to wait for."""
    if not seconds or seconds[1] < 1:
        return ""
    fastest, slowest = map(say_duration, seconds)
    return f" (usually {slowest if fastest == slowest else f'{fastest} to {slowest}'})"
