"""Rules of what a load reads, and of loads whose prompts share parts or come in sessions.

Each refusal names the key and what to do.
"""

from __future__ import annotations

import math

from vbench.schema import Workload
from vbench.schema.errors import Refused
from vbench.schema.workload import Lengths
from vbench.workload.sharing import find_script

READERS = {  # of keys that other loads would ignore: what was asked would not be what is measured
    "input_len": (Lengths.random,),
    "output_len": (Lengths.random, Lengths.prefix, Lengths.conversations, Lengths.agents),
    "path": (Lengths.sharegpt_file, Lengths.trace, Lengths.agent_trace),
}


def check_lengths(load: Workload) -> None:
    """Raises Refused if lengths or a file are given that this load does not read."""
    for key, readers in READERS.items():
        value = getattr(load, key)
        _require(
            load.lengths in readers or value == getattr(Workload(), key),
            f"workload.{key}={value}: workload={load.lengths.name} does not read it; leave it out, or choose workload="
            f"{' or '.join(each.name for each in readers)}",
        )


def check_shared_load(load: Workload) -> None:
    """Raises Refused if the values of a load's own part contradict each other, or another load's part is set."""
    for part in load.other_parts:
        _require(
            getattr(load, part) == type(getattr(load, part))(),
            f"workload.{part}: describes workload={part}, but this is workload={load.lengths.name}; leave it out",
        )
    for key, count in (
        ("prefix.groups", load.prefix.groups),
        ("conversations.system_groups", load.conversations.system_groups),
    ):
        _require(count >= 1, f"workload.{key}={count}: must be 1 or more")
    share, scale = load.agents.subagent_share, load.trace.time_scale
    _require(0 <= share <= 1, f"workload.agents.subagent_share={share}: must be between 0 and 1")
    _require(0 < scale < math.inf, f"workload.trace.time_scale={scale}: must be above 0")
    _check_sessions(load)
    find_script(load)  # refuses lengths, counts and times that describe nothing


def _check_sessions(load: Workload) -> None:
    given = [key for key in ("sessions", "session_rate") if getattr(load, key) is not None]
    for key in given:
        value = getattr(load, key)
        _require(
            load.in_sessions, f"workload.{key}={value}: workload={load.lengths.name} has no sessions; leave it out"
        )
        _require(0 < value < math.inf, f"workload.{key}={value}: must be above 0")
    searches = load.search is not None and load.search.name == "sessions"
    _require(
        load.in_sessions or not searches,
        f"workload.search=sessions: workload={load.lengths.name} has no sessions; choose workload=conversations",
    )
    if not load.in_sessions:
        return
    _require(
        len(given) + searches == 1,
        "workload: give either workload.sessions (so many at once) or workload.session_rate (arrivals a second)",
    )
    rated = math.isfinite(load.request_rate) or load.ramp_up_strategy is not None
    _require(
        not rated, f"workload.request_rate={load.request_rate}: sessions set their own pace; use workload.session_rate"
    )
    script = None if searches else find_script(load)
    begun = int(script.structure.session[-1]) + 1 if script else 0
    _require(
        load.sessions is None or begun >= load.sessions,
        f"workload.num_prompts={load.num_prompts}: that is {begun} sessions, fewer than workload.sessions="
        f"{load.sessions}; raise it",
    )
    due = math.ceil((load.sending_s or 0.0) * (load.session_rate or 0.0))
    _require(
        begun >= due,
        f"workload.num_prompts={load.num_prompts}: that is {begun} sessions, which at session_rate="
        f"{load.session_rate} arrive before duration_s={load.duration_s} is over; set enough for {due} sessions",
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused(otherwise)
