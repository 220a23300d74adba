"""An engine in simulated time: what the SLO search is tested against, thousands of requests in a second.

    engine = SimulatedEngine(base_s=0.012, per_sequence_s=0.0002, per_prompt_token_s=0.0001)
    requests = engine.serve(due_s, lengths, max_concurrency=32, rng=np.random.default_rng(0))

It works in steps, as vLLM does: each step gives every running sequence one token and fills the rest of its token budget
with prompts, first come, first served. A step takes `base_s`, `per_sequence_s` for each running sequence and
`per_prompt_token_s` for each prompt token in it.

Hosts are not always equally fast: `slow` gives the factor of a step's time by the host's clock, at whose `since_s` the
load begins. The step under way at `paused_at_s` by that clock takes `paused_s` longer.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vbench.loadgen.agenda import Agenda
from vbench.loadgen.load import Load
from vbench.schema.record import Requests


@dataclass(frozen=True)
class SimulatedEngine:
    base_s: float
    per_sequence_s: float
    per_prompt_token_s: float
    budget: int = 2048  # tokens of a step
    places: float = math.inf  # sequences that run together
    jitter: float = 0.0  # sigma of the lognormal factor of each step's time
    stall_s: float = 0.0  # a pause of the whole engine …
    stall_every_s: float = math.inf  # … after each so many seconds in the mean
    slow: Callable[[float], float] | None = None
    paused_at_s: float = math.inf  # by the host's clock: a pause of the whole engine, once …
    paused_s: float = 0.0  # … for so long
    since_s: float = 0.0

    def serve(self, due_s, lengths, max_concurrency, rng) -> Requests:
        """Serves n requests, due at these times, (n,), with these (prompt, reply) tokens, (n, 2)."""
        run = _Run(self, np.asarray(due_s, dtype=np.float64).tolist(), lengths, max_concurrency or math.inf, rng)
        while run.done < len(lengths):
            run.arrive()
            run.step()
        return _as_requests(np.asarray(due_s, dtype=np.float64), run, lengths)

    def serve_sessions(self, load: Load, computed, rng) -> Requests:
        """Serves a load in sessions, of whose prompts so many tokens are not cached, (n,)."""
        run = _SessionsRun(self, Agenda(load), np.stack([computed, load.output_len], 1), rng)
        while run.done < len(load):
            run.arrive()
            run.step()
        return _as_requests(np.array(run.due), run, np.stack([computed, load.output_len], 1))


class _Run:
    """A load being served."""

    def __init__(self, engine, due, lengths, limit, rng):
        self.engine, self.due, self.limit, self.rng = engine, due, limit, rng
        self.prompt_left, self.replies = lengths[:, 0].tolist(), lengths[:, 1].tolist()
        self.sent, self.first, self.finished = (np.zeros(len(due)) for _ in range(3))
        self.now = self.free_at = 0.0  # free_at: when a request last ended while all places of the client were taken
        self.steps = self.arrived = self.in_flight = self.done = 0
        self.waiting: deque[int] = deque()
        self.running: list[tuple[int, int]] = []  # by the step of their last token

    def arrive(self) -> None:
        if not self.waiting and not self.running and self.arrived < len(self.due):
            self.now = max(self.now, self.due[self.arrived])
        while self.arrived < len(self.due) and self.in_flight < self.limit and self.due[self.arrived] <= self.now:
            self.sent[self.arrived] = max(self.due[self.arrived], self.free_at)
            self.waiting.append(self.arrived)
            self.arrived += 1
            self.in_flight += 1

    def step(self) -> None:
        begun, prompt_tokens = self._prefill()
        self.now += self._took(prompt_tokens)
        self.steps += 1
        was_full = self.in_flight >= self.limit
        while self.running and self.running[0][0] <= self.steps:
            self._end(heapq.heappop(self.running)[1])
        for index in begun:
            self.first[index] = self.now
            if self.replies[index] == 1:
                self._end(index)
            else:
                heapq.heappush(self.running, (self.steps + self.replies[index] - 1, index))
        if was_full and self.in_flight < self.limit:
            self.free_at = self.now

    def _prefill(self) -> tuple[list[int], int]:
        """Takes prompts into this step: those whose first token it brings, and how many tokens of all."""
        room, used, begun = self.engine.budget - len(self.running), 0, []
        while self.waiting and room > 0 and len(self.running) + len(begun) < self.engine.places:
            index = self.waiting[0]
            taken = min(room, self.prompt_left[index])
            self.prompt_left[index] -= taken
            room, used = room - taken, used + taken
            if self.prompt_left[index]:
                break
            begun.append(self.waiting.popleft())
        return begun, used

    def _took(self, prompt_tokens: int) -> float:
        engine = self.engine
        jitter = math.exp(engine.jitter * self.rng.standard_normal()) if engine.jitter else 1.0
        took = engine.base_s + engine.per_sequence_s * len(self.running) + engine.per_prompt_token_s * prompt_tokens
        if engine.slow:
            took *= engine.slow(engine.since_s + self.now)
        stalled = engine.stall_s > 0 and self.rng.random() < took * jitter / engine.stall_every_s
        took = took * jitter + engine.stall_s * stalled
        until_pause = engine.paused_at_s - engine.since_s - self.now
        return took + engine.paused_s * (0 <= until_pause < took)

    def _end(self, index: int) -> None:
        self.finished[index] = self.now
        self.in_flight -= 1
        self.done += 1


class _SessionsRun(_Run):
    """Sessions being served: a turn is due its think time after the reply before it."""

    def __init__(self, engine, agenda, lengths, rng):
        super().__init__(engine, np.zeros(len(lengths)), lengths, math.inf, rng)
        self.agenda = agenda
        agenda.start(0)

    def arrive(self) -> None:
        due = self.agenda.next_due()
        if not self.waiting and not self.running and due is not None:
            self.now = max(self.now, due / 1e9)
        while due is not None and due / 1e9 <= self.now:
            index = self.agenda.pop()
            self.due[index] = self.sent[index] = due / 1e9
            self.waiting.append(index)
            self.in_flight += 1
            due = self.agenda.next_due()

    def _end(self, index: int) -> None:
        super()._end(index)
        self.agenda.end(index, int(self.now * 1e9))


def _as_requests(due, run, lengths) -> Requests:
    n, zeros = len(due), np.zeros(len(due), np.int64)
    return Requests(
        scheduled=due, sent=run.sent, first_byte=run.first, finished=run.finished, input_tokens=lengths[:, 0],
        asked_tokens=lengths[:, 1], output_tokens=lengths[:, 1], status=zeros + 200, replica=zeros,
        finish_reason=np.full(n, "length"), error=np.full(n, ""), offsets=np.arange(0, 2 * n + 1, 2),
        chunk_times=np.stack([run.first, run.finished], 1).ravel(),
        chunk_tokens=np.stack([zeros + 1, lengths[:, 1] - 1], 1).ravel(),
    )  # fmt: skip
