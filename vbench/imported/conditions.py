"""The part of an imported run's config that is known: what neither the file nor its path says is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from vbench.imported.catalogue import Catalogue
from vbench.schema import Engine, Parallelism, RampUp, Workload, to_plain

# The fields of our config that a result, its metadata or a path can state, always under vLLM's names.
STATED: dict[str, tuple[type, tuple[str, ...]]] = {
    "parallelism": (
        Parallelism,
        (
            *("tensor_parallel_size", "pipeline_parallel_size", "attention_data_parallel_size", "data_parallel_size"),
            "enable_expert_parallel",
        ),
    ),
    "engine": (
        Engine,
        (
            *("max_model_len", "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens"),
            *("enable_prefix_caching", "enforce_eager"),
        ),
    ),
    "workload": (
        Workload,
        (
            *("num_prompts", "request_rate", "burstiness", "max_concurrency"),
            *("ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps", "seed", "input_len", "output_len"),
        ),
    ),
}
OPTIONS = {key for _, keys in STATED.values() for key in keys}
NAMES = OPTIONS | {"model", "gpu", "gpus", "engine_version"}
TRUTH = {"true": True, "1": True, "false": False, "0": False}


def conditions(facts: Mapping[str, Any], extra: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """A RunConfig as plain data, with the parts that are known. Raises ValueError, naming the fact, if one is invalid.

    `facts` have keys of NAMES, at least the model; `extra` are engine options that our schema does not have, kept
    because they may shape the result.
    """
    config: dict[str, Any] = {"model": _model(str(facts["model"]), catalogue)}
    if "gpu" in facts and "gpus" in facts:
        known = catalogue.find_gpu(str(facts["gpu"]))
        gpu = to_plain(known) if known else {"name": str(facts["gpu"])}
        config["hardware"] = {"gpus": _value(int, "gpus", facts["gpus"]), "gpu": gpu}
    for part, (schema, keys) in STATED.items():
        hints = get_type_hints(schema)
        stated = {key: to_plain(_value(hints[key], key, facts[key])) for key in keys if key in facts}
        if stated:
            config[part] = stated
    if extra:
        config["engine"] = {**extra, **config.get("engine", {})}
    return config


def _model(name: str, catalogue: Catalogue) -> dict[str, Any]:
    known = catalogue.find_model(name)
    if known:
        return dict(to_plain(known))
    short = name.rstrip("/").rpartition("/")[2]
    return {"name": short} | ({"hub_id": name} if "/" in name else {})


def _value(hint: Any, key: str, value: Any) -> Any:
    """A fact in the schema's type; text from a path is read as in an override."""
    if value is None:
        return None
    kinds = get_args(hint) or (hint,)
    try:
        if bool in kinds:
            return value if isinstance(value, bool) else TRUTH[str(value).lower()]
        if RampUp in kinds:
            return RampUp[str(value)]
        if float in kinds:
            return float(value)
        return value if str in kinds and value == "auto" else int(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{key}={value}: not a value of {key}") from error
