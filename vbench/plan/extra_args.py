"""Refuses arguments in `engine.extra_args` that a config key sets too: the record would keep one of the two.

Pure. Knows vLLM's argument names and how its parser reads them (Python's argparse: `--name=value`, underscores for
dashes, unambiguous beginnings of a name), not what the other arguments mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vbench.schema.errors import Refused

KEYS = {  # vLLM's names of an argument, and the key that sets it; --disable-… from 0.33 on
    ("--model",): "model",
    ("--tensor-parallel-size", "-tp"): "parallelism.tensor_parallel_size",
    ("--pipeline-parallel-size", "-pp"): "parallelism.pipeline_parallel_size",
    ("--data-parallel-size", "-dp"): "parallelism.attention_data_parallel_size, or for whole servers "
    "parallelism.data_parallel_size",
    (
        "--enable-expert-parallel",
        "--no-enable-expert-parallel",
        "--disable-expert-parallel",
        "-ep",
    ): "parallelism.enable_expert_parallel",
    ("--max-model-len",): "engine.max_model_len",
    ("--gpu-memory-utilization", "--device-memory-utilization"): "engine.gpu_memory_utilization",
    ("--max-num-seqs",): "engine.max_num_seqs",
    ("--max-num-batched-tokens",): "engine.max_num_batched_tokens",
    ("--enforce-eager", "--no-enforce-eager"): "engine.enforce_eager",
    (
        "--enable-prefix-caching",
        "--no-enable-prefix-caching",
        "--disable-prefix-caching",
    ): "engine.enable_prefix_caching",
}
OURS = ("--host", "--port", "--served-model-name")  # no key sets these: vbench chooses them for each server
API_SERVER_COUNT = ("--api-server-count", "-asc")
BLOCKS_OVERRIDE = ("--num-gpu-blocks-override",)


def check_extra_args(words: Iterable[str]) -> None:
    """Raises Refused, naming the key to set instead, if one of the words repeats a key of the config."""
    for word in words:
        for names, key in KEYS.items():
            if names_argument(word, names):
                raise Refused(f"engine.extra_args: {word} repeats a key of the config; leave it out and set {key}")
        if names_argument(word, OURS):
            raise Refused(f"engine.extra_args: {word} is chosen by vbench for each server; leave it out")


def names_argument(word: str, names: Iterable[str]) -> bool:
    """Whether vLLM would read the word as one of these arguments, by its whole name or the beginning of it."""
    name = word.partition("=")[0]
    if name.startswith("--"):
        name = name.replace("_", "-")
    return name.startswith("-") and name.strip("-") != "" and any(each.startswith(name) for each in names)


def find_word(words: Sequence[str], names: Iterable[str]) -> str | None:
    """What the words give one of these arguments, the last one if several do; None without any."""
    found = [_read_value(words, place) for place, word in enumerate(words) if names_argument(word, names)]
    return found[-1] if found else None


def find_number(words: Sequence[str], names: Iterable[str]) -> int | None:
    """The whole number that the words give one of these arguments, the last one if several do; None without any."""
    found = [_read_value(words, place) for place, word in enumerate(words) if names_argument(word, names)]
    return next((int(value) for value in reversed(found) if value.isdecimal()), None)


def _read_value(words: Sequence[str], place: int) -> str:
    word = words[place]
    return word.partition("=")[2] if "=" in word else next(iter(words[place + 1 :]), "")
