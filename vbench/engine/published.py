"""A model that no file of conf/model describes, from its published config.json: by its hub id, or a local folder.

`hf:OWNER/NAME[@REVISION]` asks the hub, `path:FOLDER` this disk; of the weights only the index or the headers are read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vbench.engine import hub
from vbench.metrics.model_quantization import state_kv_cache_dtype, state_weight_dtype
from vbench.schema import Model
from vbench.schema.errors import HubFailed, Refused

HUB, FOLDER = "hf:", "path:"
CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
QUANTIZATION = "hf_quant_config.json"  # ModelOpt's before 0.31; vLLM reads it where config.json states none
ALIASES = {  # facts of ours that families name differently in config.json; the first that is there counts
    "num_experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "num_experts_per_tok": ("num_experts_per_tok", "num_experts_per_token", "moe_topk"),
}
ODD = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    OSError,
    OverflowError,
    RecursionError,
    struct.error,
)


def is_published(choice: str) -> bool:
    """Whether a choice of `model=` names a published model, rather than a file of conf/model."""
    return choice.startswith((HUB, FOLDER))


@contextmanager
def _refusing(choice: str) -> Iterator[None]:
    """In the block, files that hold something else than those of a published model are refused."""
    try:
        yield
    except ODD as error:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise Refused(
            f"model={choice}: its {CONFIG}, or the index or header of its weights, is damaged: {why}"
        ) from error


def read_model(choice: str) -> Model:
    """The model that the choice names. Raises Refused if it cannot be had, or its config.json lacks what is needed."""
    with _refusing(choice):
        return _read_model(choice)


def _read_model(choice: str) -> Model:
    if choice.startswith(HUB):
        hub_id, _, revision = choice.removeprefix(HUB).partition("@")
        try:
            files = hub.read_texts(hub_id, (CONFIG, INDEX), revision or None)
            size = _read_index(files.get(INDEX)) or hub.count_tensor_bytes(hub_id, revision or None)
        except (HubFailed, Refused) as error:
            raise Refused(f"model={choice}: {str(error).removeprefix(f'model.hub_id={hub_id}: ')}") from error
        if CONFIG not in files:
            raise Refused(f"model={choice}: the repository has no {CONFIG}")
        config = json.loads(files[CONFIG])
        if not config.get("quantization_config"):
            with suppress(HubFailed):  # a cache without it: the bytes of its tensors then tell (model_sizes.py)
                config = _add_quantization(config, hub.read_texts(hub_id, (QUANTIZATION,), revision or None))
        return make_model(choice, hub_id, config, size, revision or None)
    folder = Path(choice.removeprefix(FOLDER)).expanduser().absolute()
    if not (folder / CONFIG).is_file():
        raise Refused(f"model={choice}: {folder} has no {CONFIG}")
    paths = {name: folder / name for name in (CONFIG, INDEX, QUANTIZATION)}
    files = {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}
    size = _read_index(files.get(INDEX)) or _count_folder_bytes(folder)
    return make_model(choice, str(folder), _add_quantization(json.loads(files[CONFIG]), files), size, None)


def _add_quantization(config: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """The config.json as vLLM reads it: with the quantization that a file of its own states."""
    if QUANTIZATION not in files or config.get("quantization_config"):
        return config
    return config | {"quantization_config": json.loads(files[QUANTIZATION])}


def make_model(
    choice: str, hub_id: str, config: Mapping[str, Any], weight_bytes: int | None, revision: str | None
) -> Model:
    """The facts of a config.json; all of it is kept as `config_json`, so that the dummy model is built of the same.

    Raises Refused if it is not one of a model that vbench knows.
    """
    with _refusing(choice):
        return _make_model(choice, hub_id, config, weight_bytes, revision)


def _make_model(
    choice: str, hub_id: str, config: Mapping[str, Any], weight_bytes: int | None, revision: str | None
) -> Model:
    text: Mapping[str, Any] = {**config, **(config.get("text_config") or {})}
    heads = _require(choice, text, "num_attention_heads")
    hidden = _require(choice, text, "hidden_size")
    latent = (text.get("qk_nope_head_dim") or 0) + (text.get("qk_rope_head_dim") or 0)
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    architecture = (config.get("architectures") or [""])[0]
    if not architecture:
        raise Refused(f"model={choice}: its {CONFIG} has no architectures, so vLLM cannot load it")
    windowed = text.get("use_sliding_window", True)
    return Model(
        name=re.sub(r"[^\w.-]+", "_", hub_id.rstrip("/").rpartition("/")[2]),
        hub_id=hub_id,
        architecture=architecture,
        model_type=str(_require(choice, text, "model_type")),
        num_hidden_layers=_require(choice, text, "num_hidden_layers"),
        hidden_size=hidden,
        intermediate_size=text.get("intermediate_size") or _require(choice, text, "moe_intermediate_size"),
        num_attention_heads=heads,
        num_key_value_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or latent or hidden // heads,
        vocab_size=_require(choice, text, "vocab_size"),
        max_position_embeddings=_require(choice, text, "max_position_embeddings"),
        num_experts=_find(text, "num_experts"),
        num_experts_per_tok=_find(text, "num_experts_per_tok"),
        moe_intermediate_size=text.get("moe_intermediate_size") or 0,
        sliding_window=(text.get("sliding_window") or None) if windowed else None,
        weight_dtype=state_weight_dtype(text),
        kv_cache_dtype=state_kv_cache_dtype(text),
        rope_theta=float(text.get("rope_theta") or rope.get("rope_theta") or 10000.0),
        rope_scaling=dict(text["rope_scaling"]) if text.get("rope_scaling") else None,
        config_json=dict(config),
        revision=revision,
        weight_bytes=weight_bytes,
    )


def _require(choice: str, text: Mapping[str, Any], key: str) -> Any:
    if text.get(key) is None:
        raise Refused(f"model={choice}: its {CONFIG} has no {key}; vbench knows decoder-only language models")
    return text[key]


def _find(text: Mapping[str, Any], fact: str) -> int:
    return next((int(text[alias]) for alias in ALIASES[fact] if text.get(alias)), 0)


def _read_index(text: str | None) -> int | None:
    """Bytes of all tensors, as the index of a split checkpoint states them."""
    size = json.loads(text).get("metadata", {}).get("total_size") if text else None
    return int(size) if size else None


def _count_folder_bytes(folder: Path) -> int | None:
    sizes = [count_header_bytes(path) for path in sorted(folder.glob("*.safetensors"))]
    return sum(sizes) or None


def count_header_bytes(path: Path) -> int:
    """Bytes of the tensors of one safetensors file, from its header alone."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError(
                f"{path.name} has no header; if it is a pointer of Git LFS, `git lfs pull` brings the file"
            )
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return sum(end - start for start, end in (each["data_offsets"] for each in header.values()))
