"""Sessions of turns, each of which carries the turns before it with their replies. Pure.

With `workload.sessions`, that many users are there from the start to the end, and all begin in mid-life: a user met at
random is in a long session more often than in a short one, at any of its turns, and somewhere within a think time. Such
a session's first prompt holds the turns that it is said to have had, as tokens of its own. With
`workload.session_rate`, sessions arrive and begin with their first turn, so the load grows until as many end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbench.schema import Conversations, Workload
from vbench.workload.arrivals import arrivals
from vbench.workload.draws import Distribution, distribution
from vbench.workload.rows import Rows, mid_life, residual
from vbench.workload.script import Script


@dataclass(frozen=True)
class _Draws:
    """What sessions are drawn from."""

    turns: Distribution
    first_len: Distribution
    next_len: Distribution
    replies: Distribution
    think_time_s: Distribution

    @classmethod
    def of(cls, asked: Conversations, output_len: object) -> _Draws:
        return cls(
            turns=distribution(asked.turns, "conversations.turns", 1),
            first_len=distribution(asked.first_len, "conversations.first_len", 1),
            next_len=distribution(asked.next_len, "conversations.next_len", 1),
            replies=distribution(output_len, "output_len", 1),
            think_time_s=distribution(asked.think_time_s, "conversations.think_time_s", 0),
        )


def script(workload: Workload, rng: np.random.Generator) -> Script:
    """The load of `num_prompts` requests; the last session ends with the last of them.

    Parts: the system prompts, then what each turn adds. Raises Refused if a key describes no lengths, counts or times.
    """
    asked, n, users = workload.conversations, workload.request_count, workload.sessions or 0
    draws = _Draws.of(asked, workload.output_len)
    system = distribution(asked.system_len, "conversations.system_len", 0).counts(asked.system_groups, rng)
    rows = Rows(system.tolist())
    begins: list[float] = []  # seconds after the start, of each session
    while len(rows) < n:
        number = len(begins)
        group = [number % asked.system_groups] if system[number % asked.system_groups] else []
        age, turns = mid_life(draws.turns, rng) if number < users else (0, int(draws.turns.counts(1, rng)[0]))
        begins.append(residual(draws.think_time_s, rng) if number < users else 0.0)
        _write_session(rows, number, group, age, min(turns, age + n - len(rows)), draws, rng)
    if workload.session_rate:
        begins = arrivals(len(begins), workload.session_rate, workload.burstiness, rng, workload.sending_s).tolist()
    return rows.script(np.array(begins))


def _write_session(
    rows: Rows, number: int, group: list[int], age: int, turns: int, draws: _Draws, rng: np.random.Generator
) -> None:
    """Writes the session's turns from `age` on; those before it are one part of its first prompt."""
    adds = np.concatenate([draws.first_len.counts(1, rng), draws.next_len.counts(turns - 1, rng)]).tolist()
    replies = draws.replies.counts(turns, rng).tolist()
    thinks = draws.think_time_s.times(turns - age, rng).tolist()
    last = -1
    for turn in range(age, turns):
        past = [rows.new_part(sum(adds[:age]) + sum(replies[:age]))] if age and turn == age else []
        own = [*(group if turn == age else []), *past, rows.new_part(adds[turn])]
        last = rows.add(number, turn, last, [last] if last >= 0 else [], thinks[turn - age], own, replies[turn])
