"""The load of a run, under the names of `vllm bench serve`'s options."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Optional, Set

from vbench.schema.fields import key
from vbench.schema.loads import Agents, Conversations, Prefix, Replay, Routing


class Lengths(Enum):
    """Where prompt and reply lengths come from. `none`: there are no prompts, the server is only started."""

    sharegpt = "sharegpt"
    random = "random"
    sharegpt_file = "sharegpt_file"
    trace = "trace"
    prefix = "prefix"
    conversations = "conversations"
    agents = "agents"
    agent_trace = "agent_trace"
    none = "none"


class RampUp(Enum):
    """How the arrival rate moves from its start to its end: linearly or exponentially over the requests."""

    linear = "linear"
    exponential = "exponential"


class Search(Enum):
    """What a search for the highest load that meets the SLO varies."""

    max_concurrency = "max_concurrency"
    request_rate = "request_rate"
    sessions = "sessions"


@dataclass(frozen=True)
class Slo:
    """Latency objectives that each request meets or misses; null sets none."""

    ttft_ms: Optional[float] = key(None, "objective for the time to first token (TTFT)", unit="ms")
    tpot_ms: Optional[float] = key(None, "objective for the time per output token (TPOT)", unit="ms")
    e2el_ms: Optional[float] = key(None, "objective for the end-to-end latency (E2EL)", unit="ms")

    @property
    def limits(self) -> Dict[str, float]:
        """The objectives that are set, ms by key."""
        return {name: limit for name, limit in dataclasses.asdict(self).items() if limit is not None}


NEWER_KEYS = {"duration_s", "warmup_s", "sessions", "session_rate", "routing"}  # than published records
PARTS = ("prefix", "conversations", "agents", "trace")  # keys of one kind of load each, which has the part's name
IN_SESSIONS = {Lengths.conversations, Lengths.agents, Lengths.agent_trace}
SHARING = IN_SESSIONS | {Lengths.prefix, Lengths.trace}  # prompts that may share beginnings


@dataclass(frozen=True)
class Workload:
    """The load of one run."""

    lengths: Lengths = key(Lengths.sharegpt, "where prompt and reply lengths come from; none only starts the server")
    num_prompts: Optional[int] = key(
        10,
        "requests to send; with duration_s, at most",
        allowed="1 or more; null: all rows of workload=trace or agent_trace",
    )
    duration_s: Optional[float] = key(
        None,
        "stop sending after this time (and warmup_s) or after num_prompts requests, whichever comes first",
        unit="s",
        allowed="above 0; null: after num_prompts requests",
    )
    warmup_s: Optional[float] = key(
        None,
        "requests sent in this time from the start only warm the server up: latencies and counts leave them out",
        unit="s",
        allowed="above 0; null: every request counts",
    )
    request_rate: float = key(
        math.inf, "mean arrival rate of the requests", unit="requests/s", allowed="above 0; inf: all at once"
    )
    burstiness: float = key(
        1.0, "gamma shape of the gaps between arrivals", allowed="above 0; 1: Poisson, below 1: burstier"
    )
    ramp_up_strategy: Optional[RampUp] = key(None, "ramp the arrival rate up, in place of request_rate")
    ramp_up_start_rps: Optional[float] = key(None, "arrival rate at the ramp's start", unit="requests/s")
    ramp_up_end_rps: Optional[float] = key(None, "arrival rate at the ramp's end", unit="requests/s")
    max_concurrency: Optional[int] = key(None, "most requests in flight at once", allowed="1 or more; null: no limit")
    seed: int = key(0, "seed of prompts, lengths and arrivals")
    repeats: int = key(1, "runs of each point, with seeds seed, seed + 1, …", allowed="1 or more")
    ignore_eos: bool = key(True, "let every reply reach its full length")
    input_len: Any = key(1024, "prompt length of workload=random", unit="tokens", allowed="a number, or [least, most]")
    output_len: Any = key(128, "reply length of workload=random", unit="tokens", allowed="a number, or [least, most]")
    path: Optional[str] = key(
        None, "file of workload=sharegpt_file (JSON), trace (CSV or JSONL) or agent_trace (JSON or JSONL)"
    )
    slo: Slo = field(default_factory=Slo)
    sessions: Optional[int] = key(
        None, "sessions at once, of conversations or agents; one that ends is replaced", allowed="1 or more"
    )
    session_rate: Optional[float] = key(
        None, "mean arrival rate of sessions, in place of workload.sessions", unit="sessions/s", allowed="above 0"
    )
    routing: Optional[Routing] = key(
        None, "which replica gets a request", allowed="null: the one with the fewest requests in flight"
    )
    prefix: Prefix = field(default_factory=Prefix)
    conversations: Conversations = field(default_factory=Conversations)
    agents: Agents = field(default_factory=Agents)
    trace: Replay = field(default_factory=Replay)
    search: Optional[Search] = key(
        None,
        "search for the highest value of this key that meets workload.slo, deciding by num_prompts requests or more",
    )
    client_processes: Optional[int] = key(
        None, "load processes", allowed="1 or more; null: from the cores and the streams expected"
    )

    @property
    def start_only(self) -> bool:
        """Whether nothing is sent: the server is started, and what it reports of itself is the result."""
        return self.lengths is Lengths.none

    @property
    def other_parts(self) -> Set[str]:
        """The parts of other kinds of loads, which say nothing of this one."""
        return {name for name in PARTS if name != self.lengths.name}

    @property
    def unused(self) -> Set[str]:
        """Keys newer than published records that say nothing here: run keys and prompts are as before them."""
        unset = {name for name in NEWER_KEYS if getattr(self, name) is None}
        return unset | self.other_parts | ({"trace"} if self.trace == Replay() else set())

    @property
    def request_count(self) -> int:
        """`num_prompts` as a number; `plan.rules.check_run` has counted the rows where it was null."""
        if self.num_prompts is None:
            raise ValueError("workload.num_prompts is null: its rows were not counted")
        return self.num_prompts

    @property
    def shares_prompts(self) -> bool:
        """Whether prompts of this load share beginnings, so that hits in the prefix cache belong to it."""
        return self.lengths in SHARING

    @property
    def in_sessions(self) -> bool:
        """Whether requests follow one another in sessions."""
        return self.lengths in IN_SESSIONS

    @property
    def sending_s(self) -> Optional[float]:
        """Seconds from the start after which nothing more is sent; None if only num_prompts ends the load."""
        return None if self.duration_s is None else self.duration_s + (self.warmup_s or 0.0)

    @property
    def paced(self) -> bool:
        """Whether each request has an arrival time of its own, rather than all being sent at once."""
        rated = math.isfinite(self.request_rate) or self.ramp_up_strategy is not None
        return rated or self.lengths is Lengths.trace or self.in_sessions
