"""How the requests of a load hang together: their sessions, what each waits for, and which prompts share parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Structure:
    """n requests, each in a session, whose prompts are made of p parts; equal parts are equal token ids.

    A prompt is the prompt and the reply of the request that it extends, if any, and then its own parts.
    """

    session: Ints  # (n,) from 0, in the order in which sessions begin
    turn: Ints  # (n,) position in the session; a session that begins in mid-life does not begin with 0
    extends: Ints  # (n,) an earlier request of the same session; -1 if the prompt has its own parts only
    after: Ints  # (m, 2) pairs of requests of one session: the second is sent after the first has ended
    wait_s: Floats  # (n,) from the end of the last request that it waits for, or of the session that it replaces
    offsets: Ints  # (n + 1,) request i has the own parts `parts[offsets[i] : offsets[i + 1]]`
    parts: Ints  # (k,)

    def __len__(self) -> int:
        return len(self.session)

    def own_parts(self, index: int) -> Ints:
        """The parts that this request's prompt adds to what it extends."""
        return self.parts[self.offsets[index] : self.offsets[index + 1]]

    def prompt_tokens(self, part_tokens: Ints, reply_tokens: Ints) -> Ints:
        """Tokens of each prompt, (n,), by those of each part, (p,), and of each reply, (n,)."""
        sums = np.concatenate([[0], np.cumsum(part_tokens[self.parts])])
        lengths: Ints = (sums[self.offsets[1:]] - sums[self.offsets[:-1]]).astype(np.int64)
        for index in np.flatnonzero(self.extends >= 0).tolist():  # what it extends comes before it
            parent = self.extends[index]
            lengths[index] += lengths[parent] + reply_tokens[parent]
        return lengths

    def select(self, kept: Ints) -> Structure:
        """Only these requests, ascending, with whole sessions; parts keep their numbers."""
        place = np.full(len(self) + 1, -1)  # the last stands for -1
        place[kept] = np.arange(len(kept))
        inside = place[self.after[:, 0]] >= 0
        counts = np.diff(self.offsets)
        return Structure(
            session=self.session[kept],
            turn=self.turn[kept],
            extends=place[self.extends[kept]],
            after=place[self.after[inside]],
            wait_s=self.wait_s[kept],
            offsets=np.concatenate([[0], np.cumsum(counts[kept])]),
            parts=self.parts[np.repeat(place[:-1] >= 0, counts)],
        )


def singles(part_lists: list[list[int]]) -> Structure:
    """Requests that are sessions of their own, made of these parts."""
    n = len(part_lists)
    return Structure(
        session=np.arange(n),
        turn=np.zeros(n, np.int64),
        extends=np.full(n, -1),
        after=np.empty((0, 2), np.int64),
        wait_s=np.zeros(n),
        offsets=np.concatenate([[0], np.cumsum([len(each) for each in part_lists])]).astype(np.int64),
        parts=np.array([part for each in part_lists for part in each], np.int64),
    )
