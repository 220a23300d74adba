"""The rows of a script as they are written, one for each request; and sessions that are met in mid-life. Pure."""

from __future__ import annotations

import numpy as np

from vbench.schema.record import Floats, Ints
from vbench.schema.structure import Structure
from vbench.workload.draws import Distribution
from vbench.workload.script import Script

CANDIDATES = 64  # draws, of which a session in mid-life is one, chosen by its length


class Rows:
    """What has been written of a script; `part_tokens` are those of the parts that it begins with."""

    def __init__(self, part_tokens: list[int]) -> None:
        self._part_tokens = part_tokens
        self._session: list[int] = []
        self._turn: list[int] = []
        self._extends: list[int] = []
        self._after: list[tuple[int, int]] = []
        self._wait_s: list[float] = []
        self._own: list[list[int]] = []
        self._output_len: list[int] = []
        self._prompt: list[int] = []  # tokens

    def __len__(self) -> int:
        return len(self._session)

    @property
    def sessions(self) -> int:
        """How many sessions have begun."""
        return max(self._session, default=-1) + 1

    def new_part(self, tokens: int) -> int:
        """A part of so many tokens, which no other request has; returns its number."""
        self._part_tokens.append(tokens)
        return len(self._part_tokens) - 1

    def add(
        self, session: int, turn: int, extends: int, after: list[int], wait_s: float, own: list[int], reply: int
    ) -> int:
        """Writes a request that extends another (or -1) and waits for those `after`; returns its index."""
        index = len(self)
        self._session.append(session)
        self._turn.append(turn)
        self._extends.append(extends)
        self._after += [(earlier, index) for earlier in after]
        self._wait_s.append(wait_s)
        self._own.append(own)
        self._output_len.append(reply)
        carried = self.context(extends) if extends >= 0 else 0
        self._prompt.append(carried + self.tokens(own))
        return index

    def tokens(self, parts: list[int]) -> int:
        """Tokens of these parts together."""
        return sum(self._part_tokens[part] for part in parts)

    def context(self, index: int) -> int:
        """Tokens of this request's prompt and reply."""
        return self._prompt[index] + self._output_len[index]

    def script(self, begins: Floats) -> Script:
        """All rows; `begins` are the sessions' starts, in seconds."""
        session = np.array(self._session)
        after = np.array(self._after, np.int64).reshape(-1, 2)
        waits = np.zeros(len(self), np.bool_)
        waits[after[:, 1]] = True
        offsets: Ints = np.concatenate([[0], np.cumsum([len(own) for own in self._own])]).astype(np.int64)
        structure = Structure(
            session=session,
            turn=np.array(self._turn),
            extends=np.array(self._extends),
            after=after,
            wait_s=np.array(self._wait_s),
            offsets=offsets,
            parts=np.array([part for own in self._own for part in own]),
        )
        scheduled = np.where(waits, 0.0, begins[session])
        return Script(structure, np.array(self._part_tokens), np.array(self._output_len), scheduled)


def mid_life(turns: Distribution, rng: np.random.Generator) -> tuple[int, int]:
    """The turns that a session met at random has had, and has in all: long sessions are met more often."""
    candidates = turns.counts(CANDIDATES, rng)
    chosen = int(rng.choice(candidates, p=candidates / candidates.sum()))
    return int(rng.integers(chosen)), chosen


def residual(wait_s: Distribution, rng: np.random.Generator) -> float:
    """What is left of a wait that is met at random, s."""
    candidates = wait_s.times(CANDIDATES, rng)
    if not candidates.any():
        return 0.0
    return float(rng.choice(candidates, p=candidates / candidates.sum()) * rng.uniform())
