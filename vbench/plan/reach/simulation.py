"""vLLM's scheduler, step by step: who waits, who runs, when each token leaves the engine and the front end. Pure.

Each step, all running sequences get a token, and what is left of max_num_batched_tokens goes to prompts in the order of
their arrival (chunked prefill). Spans in which nothing can be admitted are advanced at once. Preemptions are left out:
a request is admitted when its whole context fits into the KV cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbench.plan.reach.steps import StepCosts
from vbench.schema.record import Floats, Ints

FEW = 12  # steps: below it a loop is faster than an array


@dataclass(frozen=True)
class Limits:
    """What vLLM's scheduler may do at most."""

    batched_tokens: int
    sequences: int
    kv_tokens: float


@dataclass(frozen=True)
class FrontEnd:
    """Seconds that the front end's event loops need, `servers` of them side by side."""

    request: float
    token: float
    servers: int = 1
    wake: float = 0.0  # until an idle engine begins


@dataclass(frozen=True)
class Timeline:
    """When n requests were sent and answered, in seconds, each (n,); and what the engine was busy with."""

    sent: Floats
    first: Floats
    last: Floats
    output: Ints
    engine_s: float  # the engine's last step ends
    seconds: dict[str, float]  # by what the engine's steps spent them on
    kv_blocked_s: float  # while a request waited for the KV cache
    sequence_blocked_s: float  # while one waited for max_num_seqs
    loop_s: float  # while the engine was idle, but the front end had requests to hand over or tokens to hand on


def simulate(
    costs: StepCosts,
    limits: Limits,
    front: FrontEnd,
    lengths: Ints,
    arrivals: Floats,
    max_concurrency: int | None = None,
) -> Timeline:
    """The timeline of requests with these prompt and reply lengths, (n, 2), sent at `arrivals`, (n,), ascending."""
    run = _Run(costs, limits, front, lengths, arrivals, max_concurrency)
    while run.advance():
        pass
    return run.timeline()


class _Run:
    """The state of one simulation; times in seconds, steps by number."""

    def __init__(
        self,
        costs: StepCosts,
        limits: Limits,
        front: FrontEnd,
        lengths: Ints,
        arrivals: Floats,
        max_concurrency: int | None,
    ) -> None:
        self.costs, self.limits, self.front = costs, limits, front
        self.prompts: list[int] = lengths[:, 0].tolist()
        self.replies: list[int] = np.maximum(lengths[:, 1], 1).tolist()
        self.arrivals = arrivals
        n = len(self.prompts)
        self.open = n if max_concurrency is None else min(max_concurrency, n)  # requests that were let out
        self.sent: list[float] = arrivals[: self.open].tolist()
        self.ready: list[float] = []  # when each reaches the engine
        self.loop_free = 0.0
        self._admit_bursts()
        self.closed_loop = max_concurrency is not None
        self.first_step = [0] * n
        self.finishes: dict[int, list[int]] = {}
        # Of each step: its end, its prompt tokens, sampled sequences (a token left for each), context tokens and pairs.
        self.times: list[float] = []
        self.work: tuple[list[float], ...] = ([], [], [], [])
        self.step, self.now = 0, 0.0
        self.next, self.left = 0, 0  # first request that is not wholly prefilled, and tokens left of it if it was begun
        self.running, self.context, self.held = 0, 0, 0
        self.kv_blocked_s, self.sequence_blocked_s, self.admission_s = 0.0, 0.0, 0.0

    def _admit_bursts(self) -> None:
        """The event loop takes turns among requests that come at once: all of them reach the engine when it is done."""
        for at in self.sent:
            self._reach_engine(at)
        starts = [place for place, at in enumerate(self.sent) if not place or at > self.sent[place - 1]]
        for start, end in zip(starts, [*starts[1:], len(self.sent)], strict=True):
            self.ready[start:end] = [self.ready[end - 1]] * (end - start)

    def _reach_engine(self, sent: float) -> None:
        self.loop_free = max(self.loop_free, sent) + self.front.request / self.front.servers
        self.ready.append(self.loop_free)

    def advance(self) -> bool:
        """One step with prompts, or several without; False at the end."""
        arrived = self.next < len(self.ready) and self.ready[self.next] <= self.now
        if not self.running and not arrived:
            if self.next >= len(self.ready):
                return False
            ready, sent = self.ready[self.next], self.sent[self.next]
            self.admission_s += ready - max(self.now, sent) + self.front.wake
            self.now = ready + self.front.wake
            return True
        began, by_sequences = self.now, self.running >= self.limits.sequences
        blocked = self.left == 0 and arrived and (by_sequences or not self._fits(self.next))
        if arrived and not blocked:
            self._mixed_step()
        else:
            self._decode(blocked)
        if blocked and by_sequences:
            self.sequence_blocked_s += self.now - began
        elif blocked:
            self.kv_blocked_s += self.now - began
        return True

    def _mixed_step(self) -> None:
        budget = max(self.limits.batched_tokens - self.running, 1)
        prompt, pairs = 0, 0.0
        begun: list[int] = []
        decoding = self.running
        while budget > 0 and self.next < len(self.ready) and self.ready[self.next] <= self.now:
            request = self.next
            whole = self.prompts[request]
            if self.left == 0:
                if begun and (self.running + len(begun) >= self.limits.sequences or not self._fits(request)):
                    break
                self.held += whole + self.replies[request]
                self.left = whole
            take = min(self.left, budget)
            done = whole - self.left
            pairs += take * (done + take / 2)
            prompt += take
            budget -= take
            self.left -= take
            if self.left:
                break
            begun.append(request)
            self.next += 1
        sampled = decoding + len(begun)
        self._take_step(float(prompt), sampled, pairs, begun)

    def _fits(self, request: int) -> bool:
        return not self.held or self.held + self.prompts[request] + self.replies[request] <= self.limits.kv_tokens

    def _take_step(self, prompt: float, sampled: int, pairs: float, begun: list[int]) -> None:
        facts = (prompt, float(sampled), float(self.context), pairs)
        self.now += self.costs.seconds(*facts)
        for column, fact in zip(self.work, facts, strict=True):
            column.append(fact)
        self.times.append(self.now)
        for request in begun:
            self.first_step[request] = self.step
            self.finishes.setdefault(self.step + self.replies[request] - 1, []).append(request)
            self.context += self.prompts[request]
        self.running = sampled
        self.context += sampled
        self._end_replies(self.step)
        self.step += 1

    def _end_replies(self, step: int) -> None:
        for request in self.finishes.pop(step, ()):
            size = self.prompts[request] + self.replies[request]
            self.running -= 1
            self.context -= size
            self.held -= size
            if self.closed_loop and self.open < len(self.prompts):
                at = max(self.now, float(self.arrivals[self.open]))
                self.sent.append(at)
                self._reach_engine(at)
                self.open += 1

    def _decode(self, blocked: bool) -> None:
        """Steps without prompts, until a request can be admitted or nothing runs."""
        until = self.ready[self.next] if self.next < len(self.ready) and not blocked else np.inf
        # In a closed loop, or while a request waits for room, the next finish may change what is admitted.
        stop = blocked or (self.closed_loop and self.open < len(self.prompts))
        last = min(self.finishes) if stop else max(self.finishes)
        count = last - self.step + 1
        if np.isfinite(until):
            one = self.costs.seconds(0.0, float(self.running), float(self.context), 0.0)
            count = min(count, int((until - self.now) / one) + 2)
        if count <= FEW:
            for _ in range(1 if np.isfinite(until) else count):  # an arrival is looked for after each step
                self._take_step(0.0, self.running, 0.0, [])
            return
        gone = np.zeros(count)
        freed = np.zeros(count)
        for step in sorted(self.finishes):
            place = step - self.step + 1  # a reply that ends at a step is gone from the next
            if place >= count:
                break
            for request in self.finishes[step]:
                gone[place] += 1
                freed[place] += self.prompts[request] + self.replies[request]
        batch = self.running - np.cumsum(gone)
        context = self.context - np.cumsum(freed) + np.concatenate([[0.0], np.cumsum(batch)[:-1]])
        nothing = np.zeros(count)
        times = self.now + np.cumsum(self.costs.seconds(nothing, batch, context, nothing))
        taken = min(int(np.searchsorted(times, until)) + 1, count)
        self.times.extend(times[:taken].tolist())
        for column, facts in zip(self.work, (nothing, batch, context, nothing), strict=True):
            column.extend(facts[:taken].tolist())
        self.now = float(times[taken - 1])
        self.running = round(float(batch[taken - 1]))
        self.context = round(float(context[taken - 1] + batch[taken - 1]))
        # The replies that ended within the span are already out of running and context.
        for step in range(self.step, self.step + taken - 1):
            for request in self.finishes.pop(step, ()):
                self.held -= self.prompts[request] + self.replies[request]
        self.step += taken - 1
        self._end_replies(self.step)
        self.step += 1

    def timeline(self) -> Timeline:
        ends, work = np.array(self.times), [np.array(column) for column in self.work]
        # The front end handles the steps' tokens in order: each starts when it has come and the one before is done.
        busy = np.cumsum(work[1] * (self.front.token / self.front.servers))
        left = busy + np.maximum.accumulate(ends - np.concatenate([[0.0], busy[:-1]]))
        first = np.array(self.first_step)
        last = first + np.array(self.replies) - 1
        return Timeline(
            sent=np.array(self.sent),
            first=left[first],
            last=left[last],
            output=np.array(self.replies),
            engine_s=float(ends[-1]),
            seconds=self.costs.parts(*work),
            kv_blocked_s=self.kv_blocked_s,
            sequence_blocked_s=self.sequence_blocked_s,
            loop_s=self.admission_s + float(left[-1] - ends[-1]),
        )
