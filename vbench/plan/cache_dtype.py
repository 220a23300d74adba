"""The data type in which a server keeps its KV cache: by its own option, else by the model. Pure."""

from __future__ import annotations

from dataclasses import replace

from vbench.plan.extra_args import find_word, names_argument
from vbench.schema import Model, RunConfig

OPTION = ("--kv-cache-dtype",)
SKIPPING = ("--kv-cache-dtype-skip-layers",)  # which then have the model's own type; OPTION is no abbreviation of it


def is_told(run: RunConfig) -> bool:
    """Whether the server is told a data type, in place of that of the checkpoint."""
    return find_word(run.engine.extra_args, OPTION) not in (None, "auto")


def as_served(run: RunConfig) -> Model:
    """The model with the data type of the cache that its server keeps."""
    told = find_word(run.engine.extra_args, OPTION) if is_told(run) else None
    dtype = told or run.model.kv_cache_dtype
    if any(names_argument(word, SKIPPING) and not names_argument(word, OPTION) for word in run.engine.extra_args):
        dtype += " but for some layers"
    return run.model if dtype == run.model.kv_cache_dtype else replace(run.model, kv_cache_dtype=dtype)
