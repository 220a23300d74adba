"""InferenceX's (formerly InferenceMAX's) aggregated result: what its process_result.py writes as agg_….json.

It derives from a result of vLLM's client, without durations and counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vbench.imported.tools.translation import SUMMARY_ONLY, Beside, Translation, cache_unchecked, known, number
from vbench.schema.record import Reason

LATENCY = re.compile(r"(mean|median|std|p[\d.]+)_(ttft|tpot|itl|e2el)")
WORDS = ("framework", "precision", "image", "spec_decoding", "disagg", "dp_attention", "is_multinode")
CHUNKS = Reason(
    "chunk_itl",
    "the ITL is that of vLLM's client, the gap of two chunks whatever tokens they carry: it stands under "
    "…_chunk_gap_ms",
)
PER_DECODE = Reason(
    "per_decode_gpu",
    "with prefill and decode apart, InferenceX's output throughput is for each decode GPU; it is multiplied by these, "
    "and tokens a GPU here count all GPUs",
)


def _key(name: str) -> str:
    return f"{name.replace('_itl', '_chunk_gap')}_ms"


def _split(result: Mapping[str, Any]) -> dict[str, Any]:
    """Its `tp` counts the GPUs; with `dp_attention` each has a copy of attention, and they share only the experts."""
    spread = {"enable_expert_parallel": int(result["ep"]) > 1} if "ep" in result else {}
    if str(result.get("dp_attention", "")).lower() == "true":
        return {"tensor_parallel_size": 1, "attention_data_parallel_size": result["tp"], **spread}
    return {"tensor_parallel_size": result["tp"], **spread}


def recognises(result: Mapping[str, Any]) -> bool:
    return {"hw", "conc", "tput_per_gpu", "framework"} <= result.keys()


def translate(result: Mapping[str, Any], _: Beside) -> list[Translation]:
    split = bool(result.get("is_multinode"))
    decode = int(result["num_decode_gpu"] if split else result["tp"])
    gpus = decode + int(result["num_prefill_gpu"]) if split else decode
    translated = {
        "model_id": result["model"], "gpu": str(result["hw"]).partition("-")[0], "gpus": gpus, "hw": result["hw"],
        "max_concurrency": result["conc"], "request_rate": "inf",
        "input_len": result.get("isl"), "output_len": result.get("osl"),
        **({} if split else _split(result)),
        "output_throughput": number(result["output_tput_per_gpu"]) * decode,
        "total_token_throughput": number(result["tput_per_gpu"]) * gpus,
        **{key: str(result[key]) for key in WORDS if key in result},
        **{_key(key): number(value) * 1e3 for key, value in result.items() if LATENCY.fullmatch(key)},
    }  # fmt: skip
    warnings = [SUMMARY_ONLY, CHUNKS, cache_unchecked("InferenceX"), *([PER_DECODE] if split else [])]
    return [Translation("InferenceX", known(translated), {}, tuple(warnings))]
