"""A load whose prompts share parts: its structure, its lengths and its times, before any token is drawn. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbench.schema.record import Floats, Ints
from vbench.schema.structure import Structure


@dataclass(frozen=True)
class Script:
    """n requests of p parts."""

    structure: Structure
    part_tokens: Ints  # (p,) at least 1 each
    output_len: Ints  # (n,)
    scheduled: Floats  # (n,) seconds after the start, of requests that wait for no other; 0 for the rest

    @property
    def lengths(self) -> Ints:
        """Shape (n, 2): tokens of each prompt, if all replies before it reach their length, and of its reply."""
        prompts = self.structure.prompt_tokens(self.part_tokens, self.output_len)
        return np.stack([prompts, self.output_len], axis=1)
