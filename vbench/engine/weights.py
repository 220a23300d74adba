"""A model's weights and tokenizer: which files a server loads, and whether they are here or can be had."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from vbench.engine import hub
from vbench.engine.dummy import name_special_tokens
from vbench.schema import Engine, Model, Weights
from vbench.schema.errors import HubFailed, Refused
from vbench.schema.pasting import say_command

# vLLM takes the first of these kinds that a repository has, at its top (its DefaultModelLoader, load format auto).
KINDS = {
    "consolidated*.safetensors": "consolidated.safetensors.index.json",
    "*.safetensors": "model.safetensors.index.json",
    "*.bin": "pytorch_model.bin.index.json",
    "*.pt": "",
}
OF_TRAINING = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"}
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".onnx_data", ".tflite")
UNREAD = (".gitattributes", ".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".mp3", ".mp4", ".wav")
TOKENIZERS = ("tokenizer.", "tekken", "vocab", "spiece")  # tokenizer.json, tokenizer.model.v3, tekken.json, …
ELSEWHERE = ("--download-dir", "--load-format", "--model", "--revision", "--tokenizer", "--skip-tokenizer-init")


def select_loaded(names: Iterable[str]) -> list[str]:
    """The files of a repository that a server loads: one kind of weights, and the small files at its top level."""
    top = [name for name in names if "/" not in name]
    weights = _select_weights(top)
    return [name for name in top if name in weights or not name.endswith(WEIGHTS + UNREAD)]


def find_missing(folder: Path) -> str | None:
    """A file or kind of file that a server needs and the folder lacks; None if the folder is complete."""
    names = {path.name for path in folder.iterdir() if path.exists()}  # no link into a cache that has lost its content
    weights = _select_weights(names)
    if not names & {"config.json", "params.json"}:
        return "config.json"
    if not any(name.startswith(TOKENIZERS) for name in names):
        return "a tokenizer"
    if not weights:
        return "weights"
    index = next(file for kind, file in KINDS.items() if fnmatch(weights[0], kind))
    if index in names:
        try:
            listed = set(json.loads((folder / index).read_text())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"a whole {index}"
        return min(listed - names, default=None)
    numbered = [match for name in weights if (match := re.match(r"(.*)-\d+-of-(\d+)\.", name))]
    there = Counter((match[1], int(match[2])) for match in numbered)
    return next((f"one of {part}'s {of} files" for (part, of), count in there.items() if count < of), None)


def require(model: Model, engine: Engine) -> None:
    """Raises Refused if a server could not load the model: no weights in the cache or on the hub, or no dummy of it."""
    if loads_from_hub(engine):
        _require_by_hub_id(model.hub_id, model.name, model.revision)
    if engine.weights is Weights.dummy and engine.base_url is None:
        name_special_tokens(model)


def loads_from_hub(engine: Engine) -> bool:
    """Whether the server loads the model by its hub id, from the same hub and cache that vbench uses."""
    elsewhere = any(word.partition("=")[0] in ELSEWHERE for word in engine.extra_args)
    elsewhere = elsewhere or any(key.startswith(("HF_", "VLLM_USE_MODELSCOPE")) for key in engine.env)
    return engine.weights is Weights.hub and engine.base_url is None and not elsewhere


def build_environment(model: Model, engine: Engine) -> dict[str, str]:
    """Variables that keep a server from asking the hub for weights that are complete in the cache.

    So it starts the same way with and without a network, and serves the same commit as all other sessions.
    """
    cached = loads_from_hub(engine) and not model.revision and is_cached(model.hub_id)
    return {"HF_HUB_OFFLINE": "1"} if cached else {}


def is_cached(hub_id: str) -> bool:
    """Whether the hub's cache holds all of the model."""
    folder = None if is_folder(hub_id) else hub.find_snapshot(hub_id)
    return folder is not None and find_missing(folder) is None


def is_folder(hub_id: str) -> bool:
    """Whether it is meant as a folder of this host, which vLLM takes in place of a hub id."""
    return hub_id.startswith(("/", ".", "~")) or Path(hub_id).is_dir()


def require_complete(hub_id: str) -> None:
    """Raises Refused if the folder, or the repository's cached files, lack anything that a server loads."""
    folder = Path(hub_id) if is_folder(hub_id) else hub.find_snapshot(hub_id)
    if folder is None or not folder.is_dir():
        raise Refused(f"model.hub_id={hub_id}: no such folder")
    if lacks := find_missing(folder):
        raise Refused(f"model.hub_id={hub_id}: {folder} lacks {lacks}")


@cache
def _require_by_hub_id(hub_id: str, name: str, revision: str | None) -> None:
    if is_folder(hub_id):
        require_complete(hub_id)
    elif revision or not is_cached(hub_id):
        try:
            hub.look_up(hub_id, revision)
        except HubFailed as error:
            raise Refused(
                f"{error}; its weights are not whole in {hub.find_cache()} either: fetch them where the hub is "
                f"in reach ({say_command('fetch', f'model={name}')}), or measure with engine.weights=dummy"
            ) from error


def has_weights(names: Collection[str]) -> bool:
    """Whether there are weights among these files."""
    return bool(_select_weights(names))


def _select_weights(names: Collection[str]) -> list[str]:
    for kind in KINDS:
        if found := [name for name in sorted(names) if fnmatch(name, kind) and name not in OF_TRAINING]:
            return found
    return []
