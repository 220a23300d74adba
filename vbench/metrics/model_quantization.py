"""How many bytes a weight tensor takes as its checkpoint stores it: bits a weight, scales, and what stays unquantized.

Read from `quantization_config` of config.json: fp8 (one scale a tensor, a channel or a block), compressed-tensors,
modelopt (NVFP4, FP8), mxfp4, awq, gptq. Sources: vLLM's vllm/model_executor/layers/quantization, where each method says
which tensors it makes. A scheme that is not known here is never taken for another one: it has no size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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


EVERY_LAYER = "Linear"  # the class of layers that a group of compressed-tensors names
MX_GROUP = 32  # weights that share a scale in MXFP4; 16 in NVFP4
MODELOPT = {  # by quant_algo
    "FP8": Scheme(8),
    "FP8_PER_CHANNEL_PER_TOKEN": Scheme(8, (1, 1 << 30)),
    "FP8_PB_WO": Scheme(8, (128, 128)),
    "FP8_BLOCK_SCALES": Scheme(8, (128, 128)),
    "MXFP8": Scheme(8, (1, MX_GROUP), 1),
    "NVFP4": Scheme(4, (1, 16), 1),
    "W4A16_NVFP4": Scheme(4, (1, 16), 1),
}


@dataclass(frozen=True)
class Quantization:
    """The schemes of a model's linear layers, each with its targets, and the names of those left in bfloat16.

    A layer has the scheme of the first targets that name it; `Linear` names all.
    """

    schemes: tuple[tuple[tuple[str, ...], Scheme], ...] = ()
    ignored: tuple[str, ...] = ()
    experts_only: bool = False

    def count_bytes(self, weight: Weight) -> float:
        """Bytes of the tensor, all copies included."""
        scheme = self._find_scheme(weight)
        if scheme is None:
            return weight.parameters * PLAIN_BYTES
        return scheme.count_bytes(weight.outputs, weight.inputs) * weight.copies

    def _find_scheme(self, weight: Weight) -> Scheme | None:
        if not weight.is_linear or (self.experts_only and not weight.is_expert):
            return None
        if any(_matches(pattern, weight.name) for pattern in self.ignored):
            return None
        named = (scheme for targets, scheme in self.schemes if any(_matches(each, weight.name) for each in targets))
        return next(named, None)


def read_quantization(config: Mapping[str, Any], weight_dtype: str) -> Quantization:
    """The quantization that `quantization_config` states; without one, that of the data type of the weights.

    Raises ValueError, with the method's name, for a method that is not known here.
    """
    stated = read_stated(config)
    if not stated:
        schemes = {
            "bfloat16": None, "fp8": Scheme(8), "int8": Scheme(8, (1, 1 << 30)), "mxfp4": Scheme(4, (1, 32), 1),
            "nvfp4": Scheme(4, (1, 16), 1), "int4": Scheme(4, (1, 128), 2.5),
        }  # fmt: skip
        if weight_dtype not in schemes:
            raise ValueError(f"its size is not known here: weight_dtype={weight_dtype}")
        return Quantization(_everywhere(schemes[weight_dtype]), ("lm_head",), experts_only=weight_dtype == "mxfp4")
    method = str(stated["quant_method"])
    ignored = tuple(
        str(each)
        for key in ("ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules")
        for each in stated.get(key) or ()
    )
    if method == "compressed-tensors":  # quantizes the output head too unless its list leaves it out
        return Quantization(tuple(_read_groups(stated)), ignored)
    if method == "mxfp4":
        return Quantization(_everywhere(Scheme(4, (1, 32), 1)), (*ignored, "lm_head"), experts_only=True)
    return Quantization(_everywhere(_read_scheme(method, stated)), (*ignored, *_read_dynamic(stated), "lm_head"))


def read_stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `quantization_config` with its `quant_method`; empty without one.

    ModelOpt wrote a form of its own before 0.31: named by its producer, with the keys one level deeper.
    """
    stated: Mapping[str, Any] = config.get("quantization_config") or config.get("compression_config") or {}
    inner = stated.get("quantization")
    found = {**stated, **(inner if isinstance(inner, Mapping) else {})}
    producer = str((stated.get("producer") or {}).get("name", ""))
    method = found.get("quant_method") or producer or found.get("quant_algo")
    return found | {"quant_method": str(method or "").lower()} if found else {}


def state_weight_dtype(config: Mapping[str, Any]) -> str:
    """The schema's word for the stored weights; what each tensor takes is read from quantization_config itself."""
    stated = read_stated(config)
    method = stated.get("quant_method", "")
    if not stated:
        return "bfloat16"
    if method == "compressed-tensors":
        weights = next(iter(_list_group_weights(stated)), {})
        bits, kind = weights.get("num_bits", 8), weights.get("type", "float")
        four_bits = "mxfp4" if weights.get("group_size") == MX_GROUP else "nvfp4"
        return {(4, "float"): four_bits, (4, "int"): "int4", (8, "int"): "int8"}.get((bits, kind), "fp8")
    if method.startswith(("awq", "gptq")):
        return {4: "int4", 8: "int8"}.get(stated.get("bits", stated.get("w_bit", 4)), "int4")
    if "FP4" in _name_algorithm(stated):
        return "nvfp4"
    return {"mxfp4": "mxfp4", "nvfp4": "nvfp4"}.get(method, "fp8")


def state_kv_cache_dtype(config: Mapping[str, Any]) -> str:
    """The data type of the KV cache that vLLM takes from the checkpoint where `--kv-cache-dtype` does not say.

    Source: get_kv_cache_quant_algo_string of vllm/utils/torch_utils.py; for compressed-tensors attention.py.
    """
    stated = read_stated(config)
    scheme, method = stated.get("kv_cache_scheme"), stated.get("quant_method", "")
    if method == "compressed-tensors":
        return "fp8" if scheme else "bfloat16"
    if not method.startswith("modelopt"):
        return "bfloat16"
    if isinstance(scheme, Mapping) and scheme.get("type") == "float":
        static = {8: "fp8"} if scheme.get("dynamic") is False else {}
        return {4: "nvfp4", **static}.get(scheme.get("num_bits", 0), "bfloat16")
    return {"FP8": "fp8", "NVFP4": "nvfp4"}.get(str(stated.get("kv_cache_quant_algo")).upper(), "bfloat16")


def _everywhere(scheme: Scheme | None) -> tuple[tuple[tuple[str, ...], Scheme], ...]:
    return () if scheme is None else (((EVERY_LAYER,), scheme),)


def _read_scheme(method: str, stated: Mapping[str, Any]) -> Scheme:
    if method in ("fp8", "fbgemm_fp8"):
        block = stated.get("weight_block_size")
        return Scheme(8, (block[0], block[1])) if block else Scheme(8, (1, 1 << 30) if method != "fp8" else None)
    if method in ("awq", "gptq", "awq_marlin", "gptq_marlin"):
        bits = stated.get("bits", stated.get("w_bit", 4))
        group = stated.get("group_size", stated.get("q_group_size", 128))
        return Scheme(bits, (1, group if group > 0 else 1 << 30), 2 + bits / 8)  # float16 scale and a zero point
    algorithm = _name_algorithm(stated)
    if algorithm in MODELOPT:
        return MODELOPT[algorithm]
    raise ValueError(f"its size is not known here: quantization {f'{method} {algorithm}'.strip() or stated}")


def _name_algorithm(stated: Mapping[str, Any]) -> str:
    """ModelOpt's name of its scheme; `modelopt_fp4` and `nvfp4` as methods name one too."""
    given = str(stated.get("quant_algo") or "").upper()
    return given or {"modelopt_fp4": "NVFP4", "nvfp4": "NVFP4"}.get(stated.get("quant_method", ""), "")


def _read_dynamic(stated: Mapping[str, Any]) -> Iterator[str]:
    """The layers that GPTQModel's `dynamic` leaves out, `-:EXPRESSION`. Its others have bits of their own."""
    for rule, changed in (stated.get("dynamic") or {}).items():
        if rule.startswith("-:"):
            yield f"re:{rule[2:]}"
        elif changed:
            raise ValueError(f"its size is not known here: quantization of some layers by a rule of their own ({rule})")


def _list_group_weights(stated: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    groups = (stated.get("config_groups") or {}).values()
    return [group["weights"] for group in groups if group.get("weights")]


def _read_groups(stated: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Scheme]]:
    """The scheme of each group of compressed-tensors, with the layers that it is for."""
    for group in (stated.get("config_groups") or {}).values():
        if group.get("weights"):
            layout = str(group.get("format") or stated.get("format", ""))
            yield tuple(group.get("targets") or (EVERY_LAYER,)), _read_compressed(group["weights"], layout)


def _read_compressed(weights: Mapping[str, Any], layout: str) -> Scheme:
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
    """Whether a list of layers means this tensor: `Linear`, re:EXPRESSION, a glob, or part of its name."""
    if pattern == EVERY_LAYER:
        return True
    names = (name, f"language_model.{name}")
    if pattern.startswith("re:"):
        return any(re.match(pattern[3:], each) for each in names)
    part = pattern.removeprefix("language_model.")
    return any(fnmatchcase(each, form) for each in names for form in (pattern, f"{pattern}.*")) or (
        f".{part}." in f".{name}."
    )
