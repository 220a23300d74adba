"""Which loads share parts of their prompts, and the script of each. Pure but for a trace's file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache

import numpy as np

from vbench.schema import Lengths, Workload
from vbench.schema.record import Floats, Ints
from vbench.workload import agents, agenttrace, conversations, prefix, trace
from vbench.workload.arrivals import schedule_arrivals
from vbench.workload.draws import distribution
from vbench.workload.script import Script
from vbench.workload.seeding import generator


def find_script(workload: Workload) -> Script | None:
    """The script of a load whose prompts share parts; None if they do not. Raises Refused if its values make none."""
    if workload.lengths not in SCRIPTS:
        return None
    return _script(_Key(workload))


def send_times(workload: Workload) -> Floats:
    """Seconds after the start at which each request is to be sent, (n,); 0 for those that wait for another."""
    script = find_script(workload)
    return script.scheduled if script else schedule_arrivals(workload, generator(workload, "arrivals"))


def waits_s(workload: Workload) -> float:
    """Seconds that the load takes by its think and tool times alone, about; 0 if no request waits for another."""
    script = find_script(workload)
    if script is None or not len(script.structure.after):
        return 0.0
    of_sessions = np.bincount(script.structure.session, weights=script.structure.wait_s)
    together = min(workload.sessions or len(of_sessions), len(of_sessions))
    return float(of_sessions.sum() / together + of_sessions.max())


def reply_tokens(workload: Workload, n: int) -> Ints:
    """Tokens of n replies, (n,)."""
    return distribution(workload.output_len, "output_len", 1).counts(n, generator(workload, "replies"))


def _prefix(workload: Workload) -> Script:
    times = schedule_arrivals(workload, generator(workload, "arrivals"))
    replies = reply_tokens(workload, workload.request_count)
    return prefix.script(workload, generator(workload, "script"), replies, times)


def _conversations(workload: Workload) -> Script:
    return conversations.script(workload, generator(workload, "script"))


def _agents(workload: Workload) -> Script:
    return agents.script(workload, generator(workload, "script"))


def _agent_trace(workload: Workload) -> Script:
    return agenttrace.script(workload, generator(workload, "script"))


SCRIPTS: dict[Lengths, Callable[[Workload], Script | None]] = {
    Lengths.prefix: _prefix,
    Lengths.conversations: _conversations,
    Lengths.agents: _agents,
    Lengths.agent_trace: _agent_trace,
    Lengths.trace: trace.script,
}


FILES = {Lengths.trace: trace, Lengths.agent_trace: agenttrace}  # what reads the file of a load, if it has one


class _Key:
    """A workload as a cache's key: its lists make it unhashable itself."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.text = json.dumps(asdict(workload), sort_keys=True, default=str)
        if workload.lengths in FILES:
            self.text += FILES[workload.lengths].content(workload).hex()  # a file may change

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@lru_cache(maxsize=8)
def _script(key: _Key) -> Script | None:
    return SCRIPTS[key.workload.lengths](key.workload)
