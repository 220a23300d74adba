"""What a session reports while it runs (`events`), and how it is shown: `screen` while it runs, `outcome` at the end.

It does not know how a session measures or who runs it. Jobs use `events` only; rich is imported by the display alone.
"""

from vbench.watch.events import EVENTS, Event, EventReader, Events

__all__ = ["EVENTS", "Event", "EventReader", "Events"]
