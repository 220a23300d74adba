"""What servers tell of their prefix caches, and whether vLLM's rules for full attention hold for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vbench.engine.counters import parse_cache_config
from vbench.schema import Engine, Model

# Other rules than those of `metrics.prefix_cache`: layers of several kinds, blocks that are loaded from elsewhere.
OTHER_CACHES = ("sliding_window", "mamba_block_size", "kv_offloading_size")
MOST_DIGITS = 15  # of a setting that is a number
OTHER_RULES = ("--speculative", "--spec", "--kv-transfer-config", "--kv-offloading", "--decode-context-parallel")


def read_facts(pages: Sequence[str], model: Model, engine: Engine) -> dict[str, Any]:
    """By the servers' /metrics: `prefix_caching`, `cache_block_size` in tokens, and `cache_blocks` of each server.

    `cache_blocks` is absent where a server has several engines, as nobody tells which of them got a request, and where
    the engine's cache has other rules than those that `metrics.prefix_cache` simulates.
    """
    told = [parse_cache_config(page) for page in pages]
    if not all(told):
        return {}
    every = [config for configs in told for config in configs]
    caching = all(config.get("enable_prefix_caching") == "True" for config in every)
    found: dict[str, Any] = {"prefix_caching": caching}
    sizes = {_number(config, "block_size") for config in every}
    if len(sizes) != 1 or not (size := sizes.pop()):
        return found
    found["cache_block_size"] = size
    blocks = [_number(configs[0], "num_gpu_blocks") for configs in told if len(configs) == 1]
    if caching and len(blocks) == len(pages) and all(blocks) and _has_plain_rules(every, model, engine):
        found["cache_blocks"] = blocks
    return found


def _has_plain_rules(configs: Sequence[dict[str, str]], model: Model, engine: Engine) -> bool:
    others = any(config.get(key, "None") not in ("None", "0", "0.0") for config in configs for key in OTHER_CACHES)
    return (
        not others
        and model.sliding_window is None
        and not any(argument.startswith(OTHER_RULES) for argument in engine.extra_args)
    )


def _number(config: dict[str, str], key: str) -> int:
    """A setting as a number; 0 if there is none."""
    told = config.get(key, "")
    return int(told) if told.isdecimal() and len(told) <= MOST_DIGITS else 0
