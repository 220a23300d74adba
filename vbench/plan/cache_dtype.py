"""The data type in which a server keeps its KV cache: by its own option, else by the model. Pure."""

from __future__ import annotations

from dataclasses import replace

from vbench.plan.extra_args import find_word
from vbench.schema import Model, RunConfig

OPTION = ("--kv-cache-dtype",)


def is_told(run: RunConfig) -> bool:
    """Whether the server is told a data type, in place of that of the checkpoint."""
    return find_word(run.engine.extra_args, OPTION) not in (None, "auto")


def as_served(run: RunConfig) -> Model:
    """The model with the data type of the cache that its server keeps."""
    told = find_word(run.engine.extra_args, OPTION)
    return replace(run.model, kv_cache_dtype=told) if told is not None and is_told(run) else run.model
