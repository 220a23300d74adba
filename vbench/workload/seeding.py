"""Generators that follow from a workload: a stated seed reproduces its load. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np

from vbench.schema import Workload

RECIPE = 1  # part of every run key: raise it if the same workload gives other prompts


def generator(workload: Workload, purpose: str) -> np.random.Generator:
    """A generator seeded with the whole workload and the purpose, and with nothing else."""
    silent = workload.unused | {"routing"}  # the same load may go to its replicas in several ways
    shaping = {key: value for key, value in asdict(workload).items() if key not in silent}
    facts = json.dumps([RECIPE, purpose, shaping], sort_keys=True, default=str)
    return np.random.default_rng(list(hashlib.sha256(facts.encode()).digest()))
