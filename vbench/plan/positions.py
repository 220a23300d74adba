"""How long a context vLLM serves a model with, by the model's config.json. Pure.

Rope scaling `linear` and `dynamic` multiply max_position_embeddings by their factor; llama3 and longrope do not. With
yarn, versions before 0.30 multiply its original_max_position_embeddings; from 0.30 on max_position_embeddings holds as
it is. (Read in vllm/config/model.py of 0.12 to 0.33, run with 0.32.) The tokenizer's model_max_length is no limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vbench.schema import Model
from vbench.schema.errors import Refused

YARN_AS_PUBLISHED = (0, 30)  # the first version that leaves max_position_embeddings of yarn as it is
UNSCALED = {"default", "su", "longrope", "llama3", "deepseek_yarn", "deepseek_llama_scaling"}
ORIGINAL = "original_max_position_embeddings"


def longest_context(model: Model, engine_version: str = "") -> int:
    """Tokens that `max_model_len` may be at most; with an unknown version, the most that any version accepts."""
    return longest(model.max_position_embeddings, model.rope_scaling or {}, model.model_type, engine_version)


def longest(positions: int, rope_scaling: Mapping[str, Any], model_type: str = "", engine_version: str = "") -> int:
    """The same of the model's facts one by one."""
    kind, factor = rope_scaling.get("rope_type", rope_scaling.get("type")), rope_scaling.get("factor") or 1.0
    if kind is None or kind in UNSCALED or model_type.startswith("gemma3"):  # Gemma 3 publishes the scaled number
        return positions
    if kind != "yarn":
        return int(positions * factor)
    scaled = int((rope_scaling.get(ORIGINAL) or positions) * factor)
    version = re.search(r"vllm(?:-cpu)? (\d+)\.(\d+)", engine_version)
    if version is None:
        return max(positions, scaled)
    return positions if (int(version[1]), int(version[2])) >= YARN_AS_PUBLISHED else scaled


def default_context(model: Model) -> int:
    """Tokens that `max_model_len=auto` gives if memory allows: with longrope the original positions, else the most."""
    rope = model.rope_scaling or {}
    original = rope.get(ORIGINAL) or model.config_json.get(ORIGINAL)
    if original and rope.get("rope_type", rope.get("type")) == "longrope":
        return int(original)
    return longest_context(model)


def check_context(model: Model, max_model_len: int | str, engine_version: str = "") -> None:
    """Raises Refused if the engine serves no context of this length with the model."""
    most = longest_context(model, engine_version)
    if isinstance(max_model_len, int) and max_model_len > most:
        by = f" by {engine_version}'s rule" if engine_version and most != model.max_position_embeddings else ""
        raise Refused(
            f"engine.max_model_len={max_model_len}: model={model.name} has {most} positions{by}; set at most that"
        )
