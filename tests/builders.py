"""Small builders of the data that tests reason about."""

from __future__ import annotations

import numpy as np

from vbench.schema import RunConfig, from_plain
from vbench.schema.record import Requests


def requests(*replies: list[tuple[float, int]], sent: list[float] | None = None, **columns) -> Requests:
    """Requests whose replies are lists of (chunk time, tokens in it); sent at 0, finished with the last chunk."""
    n = len(replies)
    sent_at = np.array(sent if sent is not None else [0.0] * n)
    tokens = [sum(count for _, count in reply) for reply in replies]
    ends = [reply[-1][0] if reply else start for reply, start in zip(replies, sent_at, strict=True)]
    given = {
        "scheduled": sent_at,
        "sent": sent_at,
        "first_byte": np.array([reply[0][0] if reply else np.nan for reply in replies]),
        "finished": np.array(ends),
        "input_tokens": np.full(n, 8),
        "asked_tokens": np.array(tokens),
        "output_tokens": np.array(tokens),
        "status": np.full(n, 200),
        "replica": np.zeros(n, dtype=np.int64),
        "finish_reason": np.full(n, "length"),
        "error": np.full(n, "", dtype="U64"),
        "offsets": np.cumsum([0, *(len(reply) for reply in replies)]),
        "chunk_times": np.array([time for reply in replies for time, _ in reply], dtype=np.float64),
        "chunk_tokens": np.array([count for reply in replies for _, count in reply], dtype=np.int64),
    }
    return Requests(**given | columns)


def run_config(**parts: dict) -> RunConfig:
    """A typed run of the tiny model on the CPU; each part's values can be replaced by keyword."""
    tiny = {
        "name": "tiny",
        "hub_id": "vbench/tiny",
        "architecture": "LlamaForCausalLM",
        "model_type": "llama",
        "num_hidden_layers": 4,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
    }
    h100 = {"name": "h100", "product": "H100", "memory_mib": 81559}
    given = {"model": tiny, "engine": {"weights": "dummy"}, "hardware": {}, "workload": {}, "parallelism": {}}
    if parts.get("hardware", {}).get("gpus"):
        given["hardware"] = {"gpu": h100}
    labels = {key: parts.pop(key) for key in ("experiment", "rerun", "launcher") if key in parts}
    return from_plain(RunConfig, {key: value | parts.get(key, {}) for key, value in given.items()} | labels)
