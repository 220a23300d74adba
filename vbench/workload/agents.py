"""Sessions of agents: rounds of a reply and a tool's result, with sub-agents in parallel and compaction. Pure.

All agents share one system prompt. A round's prompt is the round before it with its reply, and a tool's result that
comes after the tool's time. A round that starts sub-agents is followed once all of them have ended: each begins with
the shared system prompt and a task of its own. A context that outgrows `compact_at` is replaced by the system prompt
and a summary. With `workload.sessions`, agents begin in mid-life, as users do (`workload.conversations`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbench.schema import Agents, Workload
from vbench.workload.arrivals import arrivals
from vbench.workload.draws import Distribution, distribution
from vbench.workload.rows import Rows, mid_life, residual
from vbench.workload.script import Script

SYSTEM = 0  # the part of the system prompt


@dataclass(frozen=True)
class _Draws:
    """What agents are drawn from."""

    rounds: Distribution
    task_len: Distribution
    result_len: Distribution
    replies: Distribution
    tool_time_s: Distribution
    subagents: Distribution
    subagent_rounds: Distribution
    compact_len: Distribution

    @classmethod
    def of(cls, asked: Agents, output_len: object) -> _Draws:
        return cls(
            rounds=distribution(asked.rounds, "agents.rounds", 1),
            task_len=distribution(asked.task_len, "agents.task_len", 1),
            result_len=distribution(asked.result_len, "agents.result_len", 1),
            replies=distribution(output_len, "output_len", 1),
            tool_time_s=distribution(asked.tool_time_s, "agents.tool_time_s", 0),
            subagents=distribution(asked.subagents, "agents.subagents", 1),
            subagent_rounds=distribution(asked.subagent_rounds, "agents.subagent_rounds", 1),
            compact_len=distribution(asked.compact_len, "agents.compact_len", 1),
        )


def script(workload: Workload, rng: np.random.Generator) -> Script:
    """The load of `num_prompts` requests; the last session ends with the last of them."""
    asked, n, agents = workload.agents, workload.request_count, workload.sessions or 0
    draws = _Draws.of(asked, workload.output_len)
    system_len = int(distribution(asked.system_len, "agents.system_len", 1).counts(1, rng)[0])
    rows, begins = Rows([system_len]), list[float]()
    while len(rows) < n:
        number = len(begins)
        age, rounds = mid_life(draws.rounds, rng) if number < agents else (0, int(draws.rounds.counts(1, rng)[0]))
        begins.append(residual(draws.tool_time_s, rng) if number < agents else 0.0)
        _Agent(rows, number, asked, draws, rng).work(age, rounds, n)
    if workload.session_rate:
        begins = arrivals(len(begins), workload.session_rate, workload.burstiness, rng, workload.sending_s).tolist()
    return rows.script(np.array(begins))


class _Agent:
    """Writes the requests of one session."""

    def __init__(self, rows: Rows, session: int, asked: Agents, draws: _Draws, rng: np.random.Generator) -> None:
        self._rows, self._session, self._asked, self._draws, self._rng = rows, session, asked, draws, rng
        self._turn = 0

    def work(self, age: int, rounds: int, limit: int) -> None:
        """Rounds `age` to `rounds` of the task, until `limit` rows are written."""
        self._turn = age
        last, after = -1, list[int]()
        context = 0  # tokens of the last round's prompt and reply
        for number in range(age, rounds):
            if len(self._rows) >= limit:
                return
            if number == age:
                own = [SYSTEM, self._new_part(self._draws.task_len)]
                own += self._past(age, self._rows.tokens(own))
                last = self._send(-1, own, [])
            elif self._asked.compact_at and context > self._asked.compact_at:
                last = self._send(-1, [SYSTEM, self._new_part(self._draws.compact_len)], after)
            else:
                last = self._send(last, [self._new_part(self._draws.result_len)], after)
            context = self._rows.context(last)
            after = self._start_subagents(last, limit) or [last]

    def _start_subagents(self, parent: int, limit: int) -> list[int]:
        """Sends those that this round starts; returns the last request of each."""
        if self._rng.random() >= self._asked.subagent_share:
            return []
        ends = []
        for _ in range(self._draw(self._draws.subagents)):
            last = parent
            for number in range(self._draw(self._draws.subagent_rounds)):
                if len(self._rows) >= limit:
                    break
                own = [self._new_part(self._draws.result_len if number else self._draws.task_len)]
                last = self._send(last, own, [last]) if number else self._send(-1, [SYSTEM, *own], [parent])
            ends.append(last)
        return ends

    def _send(self, extends: int, own: list[int], after: list[int]) -> int:
        reply = self._draw(self._draws.replies)
        wait_s = float(self._draws.tool_time_s.times(1, self._rng)[0])
        index = self._rows.add(self._session, self._turn, extends, after, wait_s, own, reply)
        self._turn += 1
        return index

    def _past(self, age: int, begun: int) -> list[int]:
        """The history of a session that begins in mid-life, as a part of its own: of `age` rounds, or since a summary.

        `begun` are the tokens ahead of it.
        """
        per_round = self._draws.replies.counts(age, self._rng) + self._draws.result_len.counts(age, self._rng)
        tokens, most = int(per_round.sum()), self._asked.compact_at
        if most and begun + tokens > most:
            tokens = int(self._rng.integers(max(most - begun, 0) + 1))
        return [self._rows.new_part(tokens)] if tokens else []

    def _new_part(self, tokens: Distribution) -> int:
        return self._rows.new_part(self._draw(tokens))

    def _draw(self, counts: Distribution) -> int:
        return int(counts.counts(1, self._rng)[0])
