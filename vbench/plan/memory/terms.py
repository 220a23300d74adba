"""One term of the memory of a GPU: bytes, the formula, its source, and whether it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

GIB = 2**30


class Basis(Enum):
    """Where the number of a term comes from."""

    exact = "exact"  # follows from shapes
    fitted = "fitted"  # constants fitted to recorded starts; docs/predicting.md states the errors
    measured = "measured"  # by a start of the same model, engine version, GPU and split


@dataclass(frozen=True)
class Spent:
    """What recorded starts of a system left beside the KV cache, in bytes, and where their logs say it went."""

    total: float
    parts: Mapping[str, float] = field(default_factory=dict)  # by the name of a term; `weights` for all of them


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
