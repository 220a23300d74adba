"""Loads whose requests share prompts: their own keys, one part of `workload` for each kind.

A length, count or time that may vary is a number (always this one), [least, most] (evenly drawn), `exponential:MEAN` or
`lognormal:MEDIAN:MEAN`; `:MOST` after either cuts it off: `lognormal:118:500:4000`. `vbench.workload.draws` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional

from vbench.schema.fields import key

DRAWN = "a number, [least, most], exponential:MEAN or lognormal:MEDIAN:MEAN; :MOST after either cuts it off"


class Order(Enum):
    """In which order the requests of the groups are sent."""

    shuffled = "shuffled"
    grouped = "grouped"
    round_robin = "round_robin"


class Routing(Enum):
    """Which replica gets a request."""

    least_loaded = "least_loaded"  # the fewest requests in flight
    round_robin = "round_robin"  # one after another
    sticky = "sticky"  # all requests of a session go to the replica with the fewest sessions at its start
    prefix_hash = "prefix_hash"  # chosen by the first part of the prompt: a group's prefix, a session's first prompt


class TimeUnit(Enum):
    """The unit of a trace's times."""

    s = "s"
    ms = "ms"


@dataclass(frozen=True)
class Prefix:
    """Single requests in groups, each of which shares the beginning of its prompts."""

    groups: int = key(8, "groups of requests; those of one share the beginning of their prompts", allowed="1 or more")
    prefix_len: Any = key(1024, "shared beginning of a group's prompts", unit="tokens", allowed=DRAWN)
    suffix_len: Any = key(256, "rest of each prompt, its own", unit="tokens", allowed=DRAWN)
    order: Order = key(Order.shuffled, "order in which the groups' requests are sent")


@dataclass(frozen=True)
class Conversations:
    """Sessions of turns: each prompt carries the turns before it, with their replies."""

    turns: Any = key(6, "turns of a session", allowed=DRAWN)
    first_len: Any = key(512, "a session's first prompt, without the system prompt", unit="tokens", allowed=DRAWN)
    next_len: Any = key(128, "what each later turn adds to the prompt", unit="tokens", allowed=DRAWN)
    think_time_s: Any = key(10.0, "from a reply's end to the next turn", unit="s", allowed=DRAWN)
    system_groups: int = key(1, "different system prompts, dealt out evenly to the sessions", allowed="1 or more")
    system_len: Any = key(0, "system prompt, ahead of a session's first prompt", unit="tokens", allowed=DRAWN)


@dataclass(frozen=True)
class Agents:
    """Sessions of an agent: rounds of a reply and a tool's result, with sub-agents and compaction of the context."""

    rounds: Any = key(16, "requests of an agent until its task is done", allowed=DRAWN)
    system_len: Any = key(4000, "system prompt and tools, the same for all agents", unit="tokens", allowed=DRAWN)
    task_len: Any = key(500, "the task, a session's own", unit="tokens", allowed=DRAWN)
    result_len: Any = key(400, "a tool's result, which each later round adds", unit="tokens", allowed=DRAWN)
    tool_time_s: Any = key(1.0, "from a reply's end to the tool's result", unit="s", allowed=DRAWN)
    subagent_share: float = key(0.0, "share of the rounds that start sub-agents and wait for them", allowed="0 to 1")
    subagents: Any = key(2, "sub-agents that work in parallel, where some are started", allowed=DRAWN)
    subagent_rounds: Any = key(4, "requests of a sub-agent", allowed=DRAWN)
    compact_at: Optional[int] = key(
        None, "context beyond which an agent replaces its history by a summary", unit="tokens", allowed="null: never"
    )
    compact_len: Any = key(2000, "the summary that replaces the history", unit="tokens", allowed=DRAWN)


@dataclass(frozen=True)
class Replay:
    """How a trace is replayed."""

    time_unit: Optional[TimeUnit] = key(None, "unit of the file's times", allowed="null: as the file's form tells")
    time_scale: float = key(1.0, "factor of the times: 0.5 replays twice as fast", allowed="a factor above 0")
    window_s: Any = key(
        None, "part of the trace to replay, in its own time from 0", unit="s", allowed="[from, to]; null: all of it"
    )
