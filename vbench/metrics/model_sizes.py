"""The bytes of each weight tensor of a model, held against the bytes of its published tensors where these are known.

What config.json does not say of a model's layers is taken as a plain Llama's (model_facts.py). Where that is wrong, the
sum is far from what is published; such a model has no size here, rather than a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.metrics.model_facts import Facts, read_facts
from vbench.metrics.model_quantization import PLAIN_BYTES, read_quantization
from vbench.metrics.model_weights import Weight, list_weights

if TYPE_CHECKING:
    from vbench.schema import Model

GIB = 2**30
TOWERS = ("vision_config", "audio_config")  # parts for images and sound: published, but not counted here
TOO_MANY = 1.03  # counted, of those published: scales and zero points differ a little
TOO_FEW = 1.10  # published, of those counted: layers that predict further tokens are published too, up to a tenth


def size_weights(model: Model, facts: Facts | None = None) -> dict[Weight, float]:
    """Bytes of all weight tensors. Raises ValueError if they are not known, or not those that are published."""
    facts = facts or read_facts(model)
    quantization = read_quantization(facts.config, model.weight_dtype)
    sizes = {weight: quantization.count_bytes(weight) for weight in list_weights(facts)}
    _check_published(model, facts, sum(sizes.values()))
    return sizes


def has_towers(model: Model) -> bool:
    """Whether the model has parts beside its text part."""
    return any(model.config_json.get(key) for key in TOWERS)


def _check_published(model: Model, facts: Facts, counted: float) -> None:
    if not model.weight_bytes:
        return
    published = float(model.weight_bytes)
    if str(facts.config.get("torch_dtype") or facts.config.get("dtype")) == "float32":
        published /= 2  # vLLM casts them to two bytes
    table = facts.vocab_size * facts.hidden_size * PLAIN_BYTES if facts.tied else 0.0  # may be published a second time
    if counted > TOO_MANY * published or (not has_towers(model) and published > TOO_FEW * counted + table):
        raise ValueError(
            f"its size is not known here: by its config.json its weights take {counted / GIB:,.2f} GiB, but those "
            f"published {published / GIB:,.2f} GiB; model.weight_bytes=null lets the first count"
        )
