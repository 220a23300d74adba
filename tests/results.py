"""Results as vLLM's benchmark writes them, with the numbers a test wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HUB = {  # of conf/model/
    "llama8b": "neuralmagic/Meta-Llama-3.1-8B-FP8",
    "mistral7b": "mistralai/Mistral-7B-Instruct-v0.3",
    "nemo12b": "mistralai/Mistral-Nemo-Instruct-2407",
    "mixtral8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "llama70b": "neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8",
    "mistral_large": "mistralai/Mistral-Large-Instruct-2407",
    "mixtral8x22b": "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "llama405b": "NousResearch/Hermes-3-Llama-3.1-405B-FP8",
}
CHIPS = {"a100": "A100-80GB-SXM", "h100": "H100-80GB-SXM"}


def summary(hub_id: str = HUB["mistral7b"], num_prompts: int = 320, **changes: Any) -> dict[str, Any]:
    """A file of August 2024, without arrays; `changes` replace fields."""
    found = {
        "date": "20240819-061905",
        "backend": "vllm",
        "model_id": hub_id,
        "tokenizer_id": hub_id,
        "num_prompts": num_prompts,
        "request_rate": "inf",
        "duration": 12.5,
        "completed": num_prompts,
        "total_input_tokens": 70_000,
        "total_output_tokens": 60_000,
        "request_throughput": num_prompts / 12.5,
        "input_throughput": 5600.0,
        "output_throughput": 4800.0,
    }
    found |= {
        f"{shape}_{name}_ms": middle * factor
        for name, middle in (("ttft", 900.0), ("tpot", 21.0), ("itl", 20.0))
        for shape, factor in (("mean", 1.1), ("median", 1.0), ("std", 0.3), ("p99", 2.5))
    }
    return found | changes


def detailed(replies: list[tuple[float, list[float], int]], **changes: Any) -> dict[str, Any]:
    """A file with arrays, and the statistics that vLLM makes of them; a reply is (TTFT, gaps, tokens), in seconds."""
    ttfts, gaps, lengths = zip(*replies, strict=True)
    ends = [first + sum(each) for first, each in zip(ttfts, gaps, strict=True)]
    tpots = [sum(each) / (n - 1) for each, n in zip(gaps, lengths, strict=True) if n > 1]
    samples = {"ttft": ttfts, "tpot": tpots, "itl": [gap for each in gaps for gap in each]}
    return (
        summary(
            num_prompts=len(replies),
            duration=max(ends),
            total_output_tokens=sum(lengths),
            output_throughput=sum(lengths) / max(ends),
        )
        | {key: value for name, each in samples.items() for key, value in _statistics(name, each).items()}
        | {
            "input_lens": [100] * len(replies),
            "output_lens": list(lengths),
            "ttfts": list(ttfts),
            "itls": [list(each) for each in gaps],
            "generated_texts": ["text"] * len(replies),
            "errors": [""] * len(replies),
        }
        | changes
    )


def written(result: Any, root: Path, path: str) -> Path:
    """The result as a file below `root`."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(result if isinstance(result, str) else json.dumps(result))
    return file


def _statistics(name: str, samples: Any) -> dict[str, float]:
    milliseconds = np.array(samples or [0.0]) * 1e3
    return {
        f"mean_{name}_ms": float(np.mean(milliseconds)),
        f"median_{name}_ms": float(np.median(milliseconds)),
        f"std_{name}_ms": float(np.std(milliseconds)),
        f"p99_{name}_ms": float(np.percentile(milliseconds, 99)),
    }
