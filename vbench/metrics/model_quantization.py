"""How many bytes a weight tensor takes as its checkpoint stores it: bits a weight, scales, and what stays unquantized.

Read from `quantization_config` of config.json: fp8 (one scale a tensor, a channel or a block), compressed-tensors,
modelopt (NVFP4, FP8), mxfp4, awq, gptq. Sources: vLLM's vllm/model_executor/layers/quantization, where each method says
which tensors it makes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from vbench.metrics.model_weights import Weight

PLAIN_BYTES = 2.0  # bfloat16 and float16; vLLM casts float32 to one of them


@dataclass(frozen=True)
class Scheme:
    """Bits of a weight, and the bytes of scales and zero points that go with a block of weights."""

    bits: float
    block: tuple[int, int] | None = None  # outputs × inputs that share a scale; None: one a tensor
    block_bytes: float = 4.0

    def count_bytes(self, outputs: int, inputs: int) -> float:
        """Bytes of one matrix."""
        stored = outputs * inputs * self.bits / 8
        if self.block is None:
            return stored + self.block_bytes
        rows, columns = (min(size, whole) for size, whole in zip(self.block, (outputs, inputs), strict=True))
        return stored + -(-outputs // rows) * -(-inputs // columns) * self.block_bytes


@dataclass(frozen=True)
class Quantization:
    """The scheme of a model's linear layers, and the names of those that it leaves in bfloat16."""

    scheme: Scheme | None = None
    ignored: tuple[str, ...] = ()
    experts_only: bool = False

    def count_bytes(self, weight: Weight) -> float:
        """Bytes of the tensor, all copies included."""
        if self.scheme is None or not weight.is_linear or self._is_left_out(weight):
            return weight.parameters * PLAIN_BYTES
        return self.scheme.count_bytes(weight.outputs, weight.inputs) * weight.copies

    def _is_left_out(self, weight: Weight) -> bool:
        if self.experts_only and not weight.is_expert:
            return True
        return any(_matches(pattern, weight.name) for pattern in self.ignored)


def read_quantization(config: Mapping[str, Any], weight_dtype: str) -> Quantization:
    """The quantization that `quantization_config` states; without one, that of the data type of the weights.

    Raises ValueError, with the method's name, for a method that is not known here.
    """
    stated = config.get("quantization_config") or config.get("compression_config")
    if not stated:
        schemes = {
            "bfloat16": None, "fp8": Scheme(8), "int8": Scheme(8, (1, 1 << 30)), "mxfp4": Scheme(4, (1, 32), 1),
            "nvfp4": Scheme(4, (1, 16), 1), "int4": Scheme(4, (1, 128), 2.5),
        }  # fmt: skip
        if weight_dtype not in schemes:
            raise ValueError(f"its size is not known here: weight_dtype={weight_dtype}")
        return Quantization(schemes[weight_dtype], ("lm_head",), experts_only=weight_dtype == "mxfp4")
    method = str(stated.get("quant_method", stated.get("quant_algo", ""))).lower()
    ignored = tuple(
        str(each)
        for key in ("ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules")
        for each in stated.get(key) or ()
    )
    if method == "mxfp4":
        return Quantization(Scheme(4, (1, 32), 1), (*ignored, "lm_head"), experts_only=True)
    return Quantization(_read_scheme(method, stated), ignored if _is_explicit(method) else (*ignored, "lm_head"))


def _is_explicit(method: str) -> bool:
    """Whether a method quantizes the output head too unless its list leaves it out."""
    return method == "compressed-tensors"


def _read_scheme(method: str, stated: Mapping[str, Any]) -> Scheme:
    if method in ("fp8", "fbgemm_fp8"):
        block = stated.get("weight_block_size")
        return Scheme(8, (block[0], block[1])) if block else Scheme(8, (1, 1 << 30) if method != "fp8" else None)
    if method in ("awq", "gptq", "awq_marlin", "gptq_marlin"):
        bits = stated.get("bits", stated.get("w_bit", 4))
        group = stated.get("group_size", stated.get("q_group_size", 128))
        return Scheme(bits, (1, group if group > 0 else 1 << 30), 2 + bits / 8)  # float16 scale and a zero point
    if method == "compressed-tensors":
        groups = [each.get("weights") or {} for each in (stated.get("config_groups") or {}).values()]
        return _read_compressed(groups, str(stated.get("format", "")))
    if method.startswith("modelopt") or method in ("nvfp4", "fp8_pb_wo"):
        algorithm = str(
            stated.get("quant_algo", "") or (stated.get("quantization") or {}).get("quant_algo", "")
        ).upper()
        return Scheme(4, (1, 16), 1) if "FP4" in algorithm or method in ("nvfp4", "modelopt_fp4") else Scheme(8)
    raise ValueError(f"its size is not known here: quantization {method or stated}")


def _read_compressed(groups: Sequence[Mapping[str, Any]], layout: str) -> Scheme:
    weights = groups[0] if groups else {}
    bits = weights.get("num_bits", 8)
    group = weights.get("group_size") or 0
    if "nvfp4" in layout or (bits == 4 and weights.get("type") == "float"):
        return Scheme(4, (1, group or 16), 1)
    if weights.get("strategy") == "block" and weights.get("block_structure"):
        rows, columns = weights["block_structure"]
        return Scheme(bits, (rows, columns))
    if weights.get("strategy") == "channel":
        return Scheme(bits, (1, 1 << 30))
    return Scheme(bits, (1, group), 2) if group and group > 0 else Scheme(bits)


def _matches(pattern: str, name: str) -> bool:
    """Whether a list of layers left out means this tensor: as re:EXPRESSION, a glob, or part of its name."""
    names = (name, f"language_model.{name}")
    if pattern.startswith("re:"):
        return any(re.match(pattern[3:], each) for each in names)
    part = pattern.removeprefix("language_model.")
    return any(fnmatchcase(each, form) for each in names for form in (pattern, f"{pattern}.*")) or (
        f".{part}." in f".{name}."
    )
