"""Finds the models and GPUs of conf/ by the names that others give them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vbench.schema import Gpu, Model

GENERIC = re.compile(r"nvidia|tensor|core|gpu|sxm\d?|hbm\d?e?")
GIGABYTES = re.compile(r"(\d+)(gb|gib|g)")
LABEL_TOLERANCE = 0.1  # between the size on the label and what the driver reports


@dataclass(frozen=True)
class Catalogue:
    """The models and GPUs of conf/."""

    models: tuple[Model, ...] = ()
    gpus: tuple[Gpu, ...] = ()

    def find_model(self, name: str) -> Model | None:
        """The model with that hub id, or, if only a folder or file is named, with that last part."""
        given = name.rstrip("/").lower()
        ids = {model.hub_id.lower(): model for model in self.models}
        if given in ids:
            return ids[given]
        if "/" in given and not given.startswith(("/", ".", "~")):  # somebody else's model of the same name
            return None
        last = given.rpartition("/")[2]
        alike = [model for hub_id, model in ids.items() if last in (hub_id.rpartition("/")[2], model.name.lower())]
        return alike[0] if len(alike) == 1 else None

    def find_gpu(self, name: str) -> Gpu | None:
        """The GPU with that product name, or whose name and form all words of `name` fit.

        `H100-80GB-SXM` is the h100 of conf/; `H100-80GB-PCIe` and `A100-40GB-SXM` are other chips.
        """
        return next((gpu for gpu in self.gpus if re.search(gpu.product, name) or _is_named(name, gpu)), None)


def _is_named(name: str, gpu: Gpu) -> bool:
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    return gpu.name.lower() in words and all(_matches(word, gpu) for word in words)


def _matches(word: str, gpu: Gpu) -> bool:
    if size := GIGABYTES.fullmatch(word):
        return abs(int(size[1]) * 1024 / gpu.memory_mib - 1) <= LABEL_TOLERANCE
    linked = (gpu.link or "").lower()
    return word == gpu.name.lower() or (word == "pcie" and "pcie" in linked) or bool(GENERIC.fullmatch(word))
