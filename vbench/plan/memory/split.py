"""The weights that each GPU of a replica holds, by pipeline stage and by the way vLLM splits each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vbench.metrics.model_facts import Facts
from vbench.metrics.model_quantization import PLAIN_BYTES
from vbench.metrics.model_weights import Split, Weight

VOCABULARY_BLOCK = 64  # vLLM pads the vocabulary to a multiple of it (vocab_parallel_embedding.py)
MXFP4_LAYOUT = 1.012  # gpt-oss-120b on one H200, vLLM 0.26: 61.43 GiB loaded, 60.77 stored, the experts being repacked


@dataclass(frozen=True)
class Stage:
    """The weight bytes on one GPU of a pipeline stage."""

    layers: tuple[int, ...]
    experts: float
    vocabulary: float  # embedding and head
    copies: float  # norms, routers, down-projections of latent attention: whole on each GPU
    divided: float  # all else
    absorbed: float  # latent attention's up-projections, which vLLM keeps a second time in bfloat16
    others: float = 0.0  # what reads images or sound

    @property
    def bytes(self) -> float:
        return self.experts + self.vocabulary + self.copies + self.divided + self.absorbed + self.others


def split_layers(layers: int, stages: int) -> list[tuple[int, ...]]:
    """The layers of each stage: as even as can be, the remainder going to stages before the last, from its side.

    Source: get_pp_indices of vllm/distributed/utils.py.
    """
    sizes = [layers // stages] * stages
    for index in range(2, layers % stages + 2):
        sizes[-index] += 1
    starts = [sum(sizes[:stage]) for stage in range(stages)]
    return [tuple(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def split_weights(
    facts: Facts,
    sizes: Mapping[Weight, float],
    tensor: int,
    stages: int,
    *,
    engines: int,
    whole_experts: bool,
    is_repacked: bool = False,
) -> list[Stage]:
    """The weights on one GPU of each stage, of `tensor` GPUs that share it. `is_repacked`: MXFP4 experts.

    Experts are split over the GPUs of all `engines`, each of which has the other weights.
    """
    made = []
    for index, layers in enumerate(split_layers(len(facts.layers), stages)):
        held = [each for each in sizes if _is_held(each, index, stages, set(layers), tied=facts.tied)]
        parts: dict[str, float] = {"experts": 0.0, "vocabulary": 0.0, "copies": 0.0, "divided": 0.0}
        for weight in held:
            sharing = tensor * engines if weight.is_expert else tensor
            parts[_name_part(weight)] += _share(facts, weight, sizes[weight], sharing, whole_experts=whole_experts)
        if is_repacked:
            parts["experts"] *= MXFP4_LAYOUT
        made.append(Stage(layers, absorbed=_count_absorbed(facts, len(layers), tensor), **parts))
    return made


def _is_held(weight: Weight, stage: int, stages: int, layers: set[int], *, tied: bool) -> bool:
    if weight.layer is not None:
        return weight.layer in layers
    if weight.name == "model.embed_tokens":
        return stage == 0 or (tied and stage == stages - 1)
    return stage == stages - 1


def _name_part(weight: Weight) -> str:
    if weight.is_expert:
        return "experts"
    if weight.layer is None and weight.split is Split.vocabulary:
        return "vocabulary"
    return "copies" if weight.split is Split.whole else "divided"


def _share(facts: Facts, weight: Weight, size: float, tensor: int, *, whole_experts: bool) -> float:
    if weight.is_expert and whole_experts:
        return size / weight.copies * -(-weight.copies // tensor)
    if weight.split is Split.whole:
        return size
    if weight.split is Split.kv_heads:
        return size / facts.kv_heads * -(-facts.kv_heads // tensor)
    if weight.split is Split.vocabulary:
        padded = -(-weight.outputs // VOCABULARY_BLOCK) * VOCABULARY_BLOCK
        return size * padded / weight.outputs / tensor
    return size / tensor


def _count_absorbed(facts: Facts, layers: int, tensor: int) -> float:
    """Bytes of W_UK and W_UV (vllm/model_executor/layers/attention/mla_attention.py, process_weights_after_loading)."""
    if facts.latent is None:
        return 0.0
    width = facts.heads / tensor * (facts.latent.nope_dim + facts.latent.value_dim)
    return layers * width * facts.latent.rank * PLAIN_BYTES
