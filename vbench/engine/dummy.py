"""A model folder without weights: config.json and a synthetic tokenizer, for `vllm --load-format dummy`.

A dense model's speed depends on the shapes of its weights, on the size of its vocabulary, and on every token producing
text. It does not depend on the weights' values or on the words behind token ids. So a folder generated from the model's
facts serves like the model and needs no download.

Two things do depend on values. In a mixture of experts, random gates route tokens unevenly, unlike trained ones, which
changes the speed if the busiest expert sets the pace (`routing` records it; `engine.moe_routing` sets it). In small
batches a step takes as long as the experts that its prompts hit: with 8 experts, repeats with other prompts differ by
up to 8 % (docs/results/h200-vllm-0.26/warm). And speculative drafts are practically never accepted.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vbench.schema.errors import Refused
from vbench.schema.record import atomic, remove_partial_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vbench.schema import Model

EXPERTS_KEY = {  # all other families here use num_local_experts
    "qwen3_moe": "num_experts",
    "deepseek_v3": "n_routed_experts",
    "glm4_moe": "n_routed_experts",
}
SPACE = "\u0120"  # byte-level BPE's symbol for the space in front of a word
LETTERS = [*string.ascii_letters, *string.digits, *string.punctuation, SPACE, "\u010a"]  # ASCII; the last is a newline

CONFIG = "config.json"


def build_config_json(model: Model) -> dict[str, Any]:
    """The model's config.json, as dict: its facts, then what `model.config_json` adds or overrides, as published.

    A null sliding window or rope scaling is written as null: if it is absent, transformers uses the family's default.
    A `model.config_json` that is whole, as `model=hf:…` reads it, is written as it is.
    """
    if "architectures" in model.config_json:
        return {"transformers_version": "5.0.0", "torch_dtype": "bfloat16"} | model.config_json
    facts: dict[str, Any] = {
        "architectures": [model.architecture],
        "model_type": model.model_type,
        # gpt-oss publishes none: it is read from the weights, which a dummy folder does not have
        "torch_dtype": "bfloat16",
        # without it transformers mistakes every large vocabulary for an old Mistral tokenizer, and warns
        "transformers_version": "5.0.0",
        "num_hidden_layers": model.num_hidden_layers,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_position_embeddings,
        "sliding_window": model.sliding_window,
        "rope_theta": model.rope_theta,
        "rope_scaling": model.rope_scaling,
    }
    if model.num_experts:
        facts[EXPERTS_KEY.get(model.model_type, "num_local_experts")] = model.num_experts
        facts["num_experts_per_tok"] = model.num_experts_per_tok
    if "kv_lora_rank" in model.config_json:
        del facts["head_dim"]  # latent attention states its widths in keys of its own
    if model.moe_intermediate_size:
        facts["moe_intermediate_size"] = model.moe_intermediate_size
    return facts | model.config_json


def build_tokenizer_files(model: Model) -> dict[str, dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json, as dicts by file name: `model.vocab_size` tokens, all distinct.

    Byte-level BPE without merges: single ASCII characters, then words of one to four letters with a space in front.
    Text has about 4.5 bytes a token, as with a trained tokenizer. A word of the vocabulary encodes to one token; other
    text is split into characters, and characters beyond ASCII become "?".

    Raises Refused if a special token's id lies outside the vocabulary.
    """
    special = name_special_tokens(model)
    ordinary = itertools.chain(LETTERS, (SPACE + word for word in generate_words()))
    vocab = {special.get(i) or next(ordinary): i for i in range(model.vocab_size)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text, "special": True, "normalized": False}
            | {"single_word": False, "lstrip": False, "rstrip": False}
            for i, text in sorted(special.items())
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "?",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # look up the whole word before splitting it
            "vocab": vocab,
            "merges": [],
        },
    }
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        "chat_template": "{% for message in messages %}{{ message['content'] }}\n{% endfor %}",
    }
    for key in ("bos", "eos", "pad"):
        if ids := read_token_ids(model, key):
            settings[f"{key}_token"] = special[ids[0]]
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": settings}


def name_special_tokens(model: Model) -> dict[int, str]:
    """The text of the special tokens by id: the ids that config.json gives for bos, eos and pad."""
    named = {i: f"<|{key}_{i}|>" for key in ("pad", "bos", "eos") for i in read_token_ids(model, key)}
    outside = [i for i in named if not 0 <= i < model.vocab_size]
    if outside:
        raise Refused(
            f"model.config_json: token id {outside[0]} is not in the vocabulary of {model.vocab_size}; "
            "correct bos_token_id, eos_token_id, pad_token_id or vocab_size"
        )
    return named


def read_token_ids(model: Model, key: str) -> list[int]:
    """The ids that config.json gives for `key` (bos, eos or pad): none, one, or a list."""
    ids = model.config_json.get(f"{key}_token_id")
    return [] if ids is None else ids if isinstance(ids, list) else [ids]


def generate_words() -> Iterator[str]:
    """a, b, ... z, aa, ab, ...: all words of lower-case letters, shortest first."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "".join(letters)


def materialise(model: Model, cache: Path) -> Path:
    """The folder below `cache` that vLLM serves with `--load-format dummy`; written if missing.

    Its name contains a hash of its content, so a folder never changes, and a changed fact makes a new one. It is
    complete once it has config.json, which is written last. Several processes may write it at once: all write the same.
    """
    files = {CONFIG: build_config_json(model), **build_tokenizer_files(model)}
    texts = {name: json.dumps(content, indent=1, ensure_ascii=False) for name, content in files.items()}
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()
    folder = cache / f"{model.name}-{digest[:12]}"
    try:
        if not (folder / CONFIG).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in reversed(texts.items()):
                with atomic(folder / name) as partial:
                    partial.write_text(text, encoding="utf-8")
        remove_partial_files(folder)
    except FileNotFoundError:
        if not (folder / CONFIG).is_file():  # no other process has completed it and removed our partial file
            raise
    return folder
