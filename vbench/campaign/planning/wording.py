"""Numbers of a plan in words. Pure."""

from __future__ import annotations

import math

from vbench.plan.forecast.estimate import Estimate, Total


def show_range(total: Total | Estimate, unit: str = "") -> str:
    """`3.2 (2.1 to 4.8)`, with the unit behind the value."""
    value = f"{show_number(total.value)}{unit}"
    if total.low == total.high:
        return value
    return f"{value} ({show_number(total.low)} to {show_number(total.high)})"


def show_number(value: float) -> str:
    """Two or three digits: 0.034, 3.2, 32, 3,210."""
    if not value:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}"


def show_dollars(value: float) -> str:
    """To the cent, as on an order: 10.50 is not 10; below 10 cents three digits."""
    return f"{value:,.2f}" if value >= 0.1 or not value else f"{value:.3g}"


def show_span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `4 days 2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h"


def count(number: int, noun: str) -> str:
    """`1 session`, `3 sessions`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
