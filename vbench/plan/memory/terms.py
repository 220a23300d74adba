"""One term of the memory of a GPU: bytes, the formula, its source, and whether it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

GIB = 2**30


class Basis(Enum):
    """Where the number of a term comes from."""

    exact = "exact"  # follows from shapes
    fitted = "fitted"  # constants fitted to recorded starts; docs/predicting.md states the errors
    measured = "measured"  # by a start of the same model, engine version, GPU and split


@dataclass(frozen=True)
class Term:
    """Bytes on the GPU that holds the most of it."""

    name: str
    bytes: float
    formula: str
    source: str
    basis: Basis

    @property
    def gib(self) -> float:
        return self.bytes / GIB
