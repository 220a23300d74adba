"""Sessions of turns, each of which carries the turns before it with their replies. Pure.

With `workload.sessions`, that many users are there from the start to the end, and all begin in mid-life: a user met at
random is in a long session more often than in a short one, at any of its turns, and somewhere within a think time. Such
a session's first prompt holds the turns that it is said to have had, as tokens of its own. With
`workload.session_rate`, sessions arrive and begin with their first turn, so the load grows until as many end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vbench.schema import Conversations, Workload
from vbench.schema.record import Floats, Ints
from vbench.schema.structure import Structure
from vbench.workload.arrivals import arrivals
from vbench.workload.draws import Distribution, distribution
from vbench.workload.script import Script

CANDIDATES = 64  # draws, of which a session in mid-life is one, chosen by its length


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


@dataclass
class _Rows:
    """What has been written of the script: a row for each request, and the tokens of each part."""

    part_tokens: list[int]
    session: list[int] = field(default_factory=list)
    turn: list[int] = field(default_factory=list)
    extends: list[int] = field(default_factory=list)
    wait_s: list[float] = field(default_factory=list)
    own: list[list[int]] = field(default_factory=list)
    output_len: list[int] = field(default_factory=list)

    def new_part(self, tokens: int) -> int:
        self.part_tokens.append(tokens)
        return len(self.part_tokens) - 1


def script(workload: Workload, rng: np.random.Generator) -> Script:
    """The load of `num_prompts` requests; the last session ends with the last of them.

    Parts: the system prompts, then what each turn adds. Raises Refused if a key describes no lengths, counts or times.
    """
    asked, n, users = workload.conversations, workload.request_count, workload.sessions or 0
    draws = _Draws.of(asked, workload.output_len)
    system = distribution(asked.system_len, "conversations.system_len", 0).counts(asked.system_groups, rng)
    rows = _Rows(system.tolist())
    begins: list[float] = []  # seconds after the start, of each session
    while len(rows.session) < n:
        number = len(begins)
        group = [number % asked.system_groups] if system[number % asked.system_groups] else []
        age, turns = _mid_life(draws.turns, rng) if number < users else (0, int(draws.turns.counts(1, rng)[0]))
        begins.append(_residual_s(draws.think_time_s, rng) if number < users else 0.0)
        _write_session(rows, number, group, age, min(turns, age + n - len(rows.session)), draws, rng)
    if workload.session_rate:
        begins = arrivals(len(begins), workload.session_rate, workload.burstiness, rng).tolist()
    return _finish(rows, np.array(begins))


def _write_session(
    rows: _Rows, number: int, group: list[int], age: int, turns: int, draws: _Draws, rng: np.random.Generator
) -> None:
    """Writes the session's turns from `age` on; those before it are one part of its first prompt."""
    count = turns - age
    adds = np.concatenate([draws.first_len.counts(1, rng), draws.next_len.counts(turns - 1, rng)]).tolist()
    replies = draws.replies.counts(turns, rng).tolist()
    first = len(rows.session)
    past = [rows.new_part(sum(adds[:age]) + sum(replies[:age]))] if age else []
    rows.session += [number] * count
    rows.turn += range(age, turns)
    rows.extends += [-1, *range(first, first + count - 1)]
    rows.wait_s += draws.think_time_s.times(count, rng).tolist()
    rows.own += [[*group, *past, rows.new_part(adds[age])], *([rows.new_part(tokens)] for tokens in adds[age + 1 :])]
    rows.output_len += replies[age:]


def _mid_life(turns: Distribution, rng: np.random.Generator) -> tuple[int, int]:
    """The turns that a session met at random has had, and has in all."""
    candidates = turns.counts(CANDIDATES, rng)
    chosen = int(rng.choice(candidates, p=candidates / candidates.sum()))
    return int(rng.integers(chosen)), chosen


def _residual_s(think_time_s: Distribution, rng: np.random.Generator) -> float:
    """What is left of the think time of a user met at random."""
    candidates = think_time_s.times(CANDIDATES, rng)
    if not candidates.any():
        return 0.0
    return float(rng.choice(candidates, p=candidates / candidates.sum()) * rng.uniform())


def _finish(rows: _Rows, begins: Floats) -> Script:
    session, extends = np.array(rows.session), np.array(rows.extends)
    later = np.flatnonzero(extends >= 0)
    offsets: Ints = np.concatenate([[0], np.cumsum([len(own) for own in rows.own])]).astype(np.int64)
    structure = Structure(
        session=session,
        turn=np.array(rows.turn),
        extends=extends,
        after=np.stack([extends[later], later], axis=1),
        wait_s=np.array(rows.wait_s),
        offsets=offsets,
        parts=np.array([part for own in rows.own for part in own]),
    )
    scheduled = np.where(extends < 0, begins[session], 0.0)
    return Script(structure, np.array(rows.part_tokens), np.array(rows.output_len), scheduled)
