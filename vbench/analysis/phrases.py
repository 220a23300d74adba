"""How a label and a caption give one condition, in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from vbench.analysis.frame import ALONE, FACTS
from vbench.analysis.precision import KV_CACHE, WEIGHTS
from vbench.plan.program import starts_vllm
from vbench.schema import Engine
from vbench.schema.model import UNKNOWN

NOT_VLLM = "not vLLM's own server"
WORDS = {
    "sharegpt": "ShareGPT lengths",
    "random": "random lengths",
    "sharegpt_file": "lengths of a ShareGPT file",
    "none": "no load",
}
RATE, CONCURRENCY = "workload.request_rate", "workload.max_concurrency"
NAMED_FACTS = {"driver", "torch", "python", "kernel", "config_json", "prompts"}  # facts whose value alone says nothing


def label_phrase(condition: str, value: str) -> str:
    """How a label gives a condition."""
    *_, parent, name = ["", *condition.split(".")]
    if not value or (condition in FACTS and condition not in NAMED_FACTS):
        return value
    if condition in LABELS:
        return LABELS[condition](value)
    return f"{parent}=sha256:{value}" if name == "sha256" else f"{name}={value}"


def caption_phrase(condition: str, value: str) -> str:
    """How a caption gives a condition that all runs share."""
    return CAPTIONS[condition](value) if condition in CAPTIONS else label_phrase(condition, value)


def _words(value: str) -> list[str]:
    """A list that was written as JSON; anything else is one word, as another tool may have written it."""
    try:
        found = json.loads(value)
    except ValueError:
        return [value]
    return [str(each) for each in found] if isinstance(found, list) else [value]


def _command_phrase(command: Sequence[str]) -> str:
    if command == Engine().command:
        return ""
    words = " ".join(command).replace("python -m vllm.entrypoints.cli.main ", "vllm ")
    return words if starts_vllm(command) else f"{NOT_VLLM}: {words}"


def _type_phrase(what: str, value: str) -> str:
    return f"{what} of unknown type" if value == UNKNOWN else f"{what} in {value}" if value else ""


LABELS: dict[str, Callable[[str], str]] = {
    "engine.weights": "{} weights".format,
    WEIGHTS: lambda value: "weights of unknown type" if value == UNKNOWN else f"{value} weights",
    KV_CACHE: lambda value: "KV cache of unknown type" if value == UNKNOWN else f"{value} KV cache",
    ALONE: lambda value: "alone on its host" if value == "true" else "",
    "engine.command": lambda value: _command_phrase(_words(value)),
    "engine.extra_args": lambda value: " ".join(_words(value)),
    "workload.lengths": lambda value: WORDS.get(value, value),
}
CAPTIONS: dict[str, Callable[[str], str]] = {
    "source": lambda value: "" if value == "measured" else f"source: {value}",
    WEIGHTS: lambda value: _type_phrase("weights", value),
    KV_CACHE: lambda value: _type_phrase("KV cache", value),
    RATE: lambda value: "all prompts at once" if value == "inf" else f"{value} requests/s",
    "engine.enforce_eager": lambda value: "enforce_eager" if value == "true" else "",
}
