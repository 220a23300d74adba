"""Whether a model fits on the GPUs of a replica, and the tokens of KV cache that remain; every term has its formula."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from vbench.metrics.model_cost import group_kv_layers
from vbench.metrics.model_facts import ByContent, Facts, read_facts
from vbench.metrics.model_quantization import read_quantization
from vbench.metrics.model_sizes import has_towers, size_weights
from vbench.plan.cache_dtype import as_served
from vbench.plan.extra_args import BLOCKS_OVERRIDE, find_number
from vbench.plan.memory import profile
from vbench.plan.memory.blocks import Pool, make_pool
from vbench.plan.memory.split import Stage, split_weights
from vbench.plan.memory.steps import Steps, find_steps
from vbench.plan.memory.terms import GIB, Basis, Spent, Term
from vbench.plan.positions import longest_context

if TYPE_CHECKING:
    from vbench.schema import Gpu, Model, RunConfig

MARGIN_GIB = 1.0  # the largest error of the fitted terms over the recorded starts; docs/predicting.md


class Verdict(Enum):
    """Whether an engine starts."""

    fits = "fits"
    near = "near the edge"  # within the error of the estimate: only a start tells
    too_large = "does not fit"


@dataclass(frozen=True)
class Fit:
    """The memory of the GPU that has the least left of it, and what it holds."""

    verdict: Verdict
    usable: Term  # utilization × the driver's memory
    terms: tuple[Term, ...]  # what is spent before the KV cache
    available: float  # bytes for the KV cache; negative if the terms exceed what is usable
    kv_bytes_per_token: float  # of a request shorter than every window, on one GPU
    max_context_tokens: int  # the longest max_model_len that starts; 0 if none does
    max_model_len: int  # that of the config; with `auto`, max_context_tokens
    kv_cache_tokens: int  # as vLLM states it at this max_model_len; 0 if it does not start
    weights_gib: float  # on this GPU
    blocks_override: int | None = None  # --num-gpu-blocks-override, which replaces the blocks that memory would hold

    @property
    def measured(self) -> bool:
        return any(term.basis is Basis.measured for term in self.terms)


@dataclass(frozen=True)
class _Split:
    tensor: int
    stages: int
    engines: int  # of one server, each with attention of its own
    whole_experts: bool

    @property
    def expert_devices(self) -> int:
        """Devices that the experts of a layer are split over."""
        return self.tensor * self.engines


def estimate_fit(config: RunConfig, engine_version: str = "", measured: Spent | None = None) -> Fit:
    """The fit of a point on a GPU. `measured`: what recorded starts of this system spent beside the KV cache.

    Raises ValueError if the model's layers or quantization are not known here, or where the config names no GPU.
    """
    gpu = config.hardware.gpu
    if gpu is None:
        raise ValueError(f"hardware={config.hardware.name}: no GPU")
    split, facts = read_split(config), read_facts(config.model)
    steps = find_steps(config.engine, gpu, split.stages)
    most = longest_context(config.model, engine_version)
    fits = [_fit_stage(config, gpu, facts, stage, split, steps, most, measured) for stage in split_stages(config)]
    return min(fits, key=lambda fit: (fit.max_context_tokens, fit.kv_cache_tokens, fit.available))


def split_stages(config: RunConfig) -> list[Stage]:
    """The weights on one GPU of each pipeline stage. Raises ValueError for layers or a quantization not known here."""
    return list(_split_stages(ByContent(config.model), read_split(config)))


@lru_cache(maxsize=1024)
def _split_stages(key: ByContent, split: _Split) -> tuple[Stage, ...]:
    model, facts = key.model, read_facts(key.model)
    sizes = size_weights(model, facts)
    stages = split_weights(
        facts,
        sizes,
        split.tensor,
        split.stages,
        engines=split.engines,
        whole_experts=split.whole_experts,
        is_repacked=read_quantization(facts.config, model.weight_dtype).experts_only,
    )
    others = _count_others(model, sum(sizes.values())) / split.tensor
    return (replace(stages[0], others=others), *stages[1:])


def read_split(config: RunConfig) -> _Split:
    """How a replica is split; a size that is null takes the devices that the others leave."""
    parallelism, devices = config.parallelism, config.hardware.devices
    sizes = {
        "tensor": parallelism.tensor_parallel_size,
        "stages": parallelism.pipeline_parallel_size,
        "engines": parallelism.attention_data_parallel_size,
        "replicas": parallelism.data_parallel_size,
    }
    given = 1
    for size in sizes.values():
        given *= size or 1
    found = {name: size or max(devices // given, 1) for name, size in sizes.items()}
    return _Split(found["tensor"], found["stages"], found["engines"], parallelism.enable_expert_parallel)


def find_pool(config: RunConfig, layers: range | tuple[int, ...] | None = None) -> Pool:
    """The KV cache's blocks on a GPU of these layers; of all of them if none are named."""
    assert config.hardware.gpu is not None
    split, facts = read_split(config), read_facts(config.model)
    steps = find_steps(config.engine, config.hardware.gpu, split.stages)
    held = facts if layers is None else replace(facts, layers=tuple(facts.layers[index] for index in layers))
    kv = group_kv_layers(held, as_served(config).kv_cache_dtype)
    return make_pool(kv, split.tensor, steps.in_flight * steps.tokens)


def count_usable(gpu: Gpu, utilization: float) -> float:
    """Bytes that the engine may use of a GPU."""
    return utilization * (gpu.memory_mib / 1024 - profile.DRIVER_GIB) * GIB


def _fit_stage(
    config: RunConfig,
    gpu: Gpu,
    facts: Facts,
    stage: Stage,
    split: _Split,
    steps: Steps,
    most: int,
    measured: Spent | None,
) -> Fit:
    utilization, served = config.engine.gpu_memory_utilization, as_served(config)
    usable = Term(
        "usable",
        count_usable(gpu, utilization),
        f"{utilization:g} × ({gpu.memory_mib:,} MiB − {profile.DRIVER_GIB} GiB kept by the driver)",
        "conf/gpu, vLLM request_memory",
        Basis.exact,
    )
    terms = (
        *_list_weight_terms(facts, stage, split, most),
        profile.estimate_activations(
            facts, steps, split.tensor, engines=split.engines, whole_experts=split.whole_experts
        ),
        profile.estimate_graphs(facts, split.tensor, eager=config.engine.enforce_eager),
        profile.estimate_context(split.tensor * split.stages * split.engines),
    )
    if measured is not None:
        terms = _replace_measured(terms, measured)
    available = usable.bytes - sum(term.bytes for term in terms)
    pool = find_pool(config, stage.layers)
    override = find_number(config.engine.extra_args, BLOCKS_OVERRIDE)
    blocks = pool.count_blocks(available) if override is None else override
    taken = 0.0 if override is None else override * pool.block_bytes  # vLLM allocates them all, whatever is available
    longest = pool.find_longest(blocks, most) if taken <= available else 0
    limit = config.engine.max_model_len
    length = limit if isinstance(limit, int) else longest
    starts = 0 < length <= longest
    needed = max(pool.count_request_blocks(length if isinstance(limit, int) else 1) * pool.block_bytes, taken)
    return Fit(
        verdict=_judge(available - needed, starts=starts, margin=0.1 if measured is not None else MARGIN_GIB),
        usable=usable,
        terms=terms,
        available=available,
        kv_bytes_per_token=sum(
            each.bytes_per_token / each.heads * -(-each.heads // split.tensor) * each.layers
            for each in group_kv_layers(
                replace(facts, layers=tuple(facts.layers[index] for index in stage.layers)), served.kv_cache_dtype
            )
        ),
        max_context_tokens=longest,
        max_model_len=length,
        blocks_override=override,
        kv_cache_tokens=pool.count_tokens(blocks, length) if starts else 0,
        weights_gib=sum(term.bytes for term in terms if term.name.startswith("weights")) / GIB,
    )


def _replace_measured(terms: tuple[Term, ...], measured: Spent) -> tuple[Term, ...]:
    """The terms with those that logs tell replaced, and one more: what was spent in all, less these."""
    said = {
        name: Term(name, size, "as the engine's log says", "server.log of the records", Basis.measured)
        for name, size in measured.parts.items()
    }
    kept = [term for term in terms if not ("weights" in said and term.name.startswith("weights"))]
    weights = [said["weights"]] if "weights" in said else []
    listed = [*weights, *(said.get(term.name, term) for term in kept)]
    rest = measured.total - sum(term.bytes for term in listed)
    formula = "what recorded starts spent in all, less the terms above"
    return (*listed, Term("correction", rest, formula, "KV cache of the records", Basis.measured))


def _judge(spare: float, *, starts: bool, margin: float) -> Verdict:
    if abs(spare) < margin * GIB:
        return Verdict.near
    return Verdict.fits if starts else Verdict.too_large


def _count_others(model: Model, counted: float) -> float:
    """Bytes of what a model has beside its text part: what the hub has more of than the shapes here."""
    return max((model.weight_bytes or 0) - counted, 0.0) if has_towers(model) else 0.0


def _list_weight_terms(facts: Facts, stage: Stage, split: _Split, positions: int) -> list[Term]:
    by = f" / {split.tensor}" if split.tensor > 1 else ""
    devices = split.expert_devices
    experts = f"whole experts, ⌈{facts.experts} / {devices}⌉ of each layer" if split.whole_experts else f"/ {devices}"
    rope = profile.count_rope_cache(facts, positions)
    listed = (
        (
            "weights: attention, dense feed-forward",
            stage.divided,
            f"{len(stage.layers)} layers{by}; KV heads at least one",
        ),
        ("weights: experts", stage.experts, f"{facts.experts} a layer{f', {experts}' if devices > 1 else ''}"),
        ("weights: embedding, head", stage.vocabulary, f"⌈{facts.vocab_size} / 64⌉ × 64 rows{by}"),
        ("weights: norms, routers and others kept whole", stage.copies, "a copy on each GPU"),
        ("weights: towers for images and sound", stage.others, f"published tensors less those above{by}"),
        ("weights: latent attention, absorbed", stage.absorbed, f"W_UK and W_UV again in bfloat16{by}"),
        ("weights: rotary table", rope, f"{positions:,} positions × rotary width × 2 B"),
    )
    source = "shapes of config.json, quantization_config"
    return [Term(name, size, formula, source, Basis.exact) for name, size, formula in listed if size]
