"""Rules between the values of a run, beyond their types. Each refusal names the key, what is wrong and what to do."""

from __future__ import annotations

import dataclasses
import math
from typing import Any
from urllib.parse import urlsplit

from vbench.plan.arrival_rules import check_arrivals
from vbench.plan.blank_rules import check_blanks
from vbench.plan.extra_args import API_SERVER_COUNT, check_extra_args, names_argument
from vbench.plan.load_rules import check_lengths, check_shared_load
from vbench.plan.model_rules import check_model
from vbench.plan.name_rules import check_names
from vbench.plan.positions import check_context, default_context
from vbench.plan.resources import parse_minutes
from vbench.plan.search_rules import check_search
from vbench.plan.secrecy import check_secrets
from vbench.plan.sessions import repeats
from vbench.schema import Engine, Lengths, Parallelism, Rerun, RunConfig, Weights, Workload
from vbench.schema.errors import Refused
from vbench.workload.prompts import lengths
from vbench.workload.sharing import FILES

SINGLE_FRONT_END = "vllm.entrypoints.openai.api_server"  # accepts --api-server-count but starts one server
MOST_TOKENS = 100_000_000  # of one prompt or reply: beyond any context
MOST_REPEATS = 1_000
MOST_PROMPTS = 1_000_000  # of one run; each takes some kilobytes in the load processes


def check_run(run: RunConfig) -> RunConfig:
    """The run with its open parallel size filled in. Raises Refused if its values contradict each other."""
    run = check_address(run)
    run = dataclasses.replace(run, workload=_count_rows(run.workload))
    run = dataclasses.replace(run, parallelism=_fill_sizes(run.parallelism, run.hardware.devices, run.hardware.name))
    _check_heads(run)
    _check_experts(run)
    _check_weights(run)
    check_model(run)
    check_extra_args(run.engine.extra_args)
    _check_front_ends(run.engine)
    _check_load(run)
    check_arrivals(run.workload)
    _check_objectives(run.workload)
    check_shared_load(run.workload)
    _check_context(run)
    for each in repeats(run):  # another seed may draw longer sessions, and so fewer of them
        check_shared_load(each.workload)
    _check_launcher(run)
    parse_minutes(run.hardware.slurm.time_min)
    check_names(run)
    return run


def check_address(run: RunConfig) -> RunConfig:
    """The run with its `engine.base_url` in one form: what must hold before its server may be asked. Raises Refused."""
    check_blanks(run)
    run = dataclasses.replace(run, engine=_normalise_base_url(run.engine))
    check_secrets(run)
    return run


def _fill_sizes(split: Parallelism, devices: int, hardware: str) -> Parallelism:
    sizes: dict[str, Any] = {
        "tensor_parallel_size": split.tensor_parallel_size,
        "pipeline_parallel_size": split.pipeline_parallel_size,
        "attention_data_parallel_size": split.attention_data_parallel_size,
        "data_parallel_size": split.data_parallel_size,
    }
    for key, size in sizes.items():
        _require(size is None or size >= 1, f"parallelism.{key}={size}: must be 1 or more")
    given = math.prod(size for size in sizes.values() if size)
    open_sizes = [key for key, size in sizes.items() if size is None]
    _require(
        len(open_sizes) <= 1,
        f"parallelism.{' and parallelism.'.join(open_sizes)}: only one size may be null (it takes what is left)",
    )
    if open_sizes and devices % given == 0:
        return dataclasses.replace(split, **{open_sizes[0]: devices // given})
    product = " × ".join(f"{key}={size}" for key, size in sizes.items() if size and size > 1) or "all sizes 1"
    _require(
        not open_sizes and given == devices,
        f"parallelism: {product} uses {given} devices, but hardware={hardware} has {devices}; make them equal",
    )
    return split


def _normalise_base_url(engine: Engine) -> Engine:
    """The engine with its base_url without a trailing /v1 or slash. Raises Refused if it is no address."""
    if engine.base_url is None:
        for key in ("served_model_name", "api_key_env", "chat"):
            _require(
                not getattr(engine, key), f"engine.{key}: describes an external server; give its engine.base_url too"
            )
        return engine
    try:
        url = urlsplit(engine.base_url)
        spaced = any(map(str.isspace, engine.base_url))
        whole = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not spaced
    except ValueError:  # a port that is no number
        whole = False
    _require(bool(whole), f"engine.base_url={engine.base_url}: must be a server's address, as http://host:8000")
    bare = not (url.username or url.password or url.query or url.fragment)
    _require(
        bare, "engine.base_url: must hold no user, password or query; name the key's variable in engine.api_key_env"
    )
    return dataclasses.replace(engine, base_url=engine.base_url.rstrip("/").removesuffix("/v1").rstrip("/"))


def _check_heads(run: RunConfig) -> None:
    heads, size = run.model.num_attention_heads, run.parallelism.tensor_parallel_size
    _require(
        size is not None and heads % size == 0,
        f"parallelism.tensor_parallel_size={size}: must divide the {heads} attention heads of model={run.model.name}",
    )


def _check_experts(run: RunConfig) -> None:
    split, routed = run.parallelism, run.model.num_experts > 0 or run.model.is_unknown
    _require(
        split.attention_data_parallel_size == 1 or routed,
        f"parallelism.attention_data_parallel_size={split.attention_data_parallel_size}: model={run.model.name} has no "
        "experts to split, so its engines would be whole copies; set data_parallel_size instead (parallelism=dp)",
    )
    _require(
        not split.enable_expert_parallel or routed,
        f"parallelism.enable_expert_parallel=true: model={run.model.name} has no experts; set it to false",
    )
    _require(  # vLLM spreads them over the devices that share a layer: not over pipeline stages, nor over servers
        not split.enable_expert_parallel or (split.tensor_parallel_size, split.attention_data_parallel_size) != (1, 1),
        "parallelism.enable_expert_parallel=true: tensor_parallel_size=1 and attention_data_parallel_size=1 leave one "
        "device to each layer, so no experts are spread; raise one of them, as parallelism=ep and parallelism=dpep do "
        "with several devices, or set it to false",
    )
    if run.engine.moe_routing:
        name = f"engine.moe_routing={run.engine.moe_routing.name}"
        _require(run.engine.base_url is None, f"{name}: cannot be set for a server that already runs; leave it out")
        _require(run.model.num_experts > 0, f"{name}: model={run.model.name} has no experts; leave it out")


def _check_weights(run: RunConfig) -> None:
    _require(
        run.model.name != "tiny" or run.engine.weights is Weights.dummy,
        "engine.weights=hub: model=tiny has no weights on a hub; use engine.weights=dummy",
    )


def _check_front_ends(engine: Engine) -> None:
    several = any(names_argument(word, API_SERVER_COUNT) for word in engine.extra_args)
    _require(
        not several or SINGLE_FRONT_END not in engine.command,
        f"engine.extra_args: {SINGLE_FRONT_END} ignores --api-server-count; add engine=vllm_serve",
    )


def _count_rows(load: Workload) -> Workload:
    """The load with `num_prompts` filled in where it is null."""
    if load.num_prompts is not None:
        return load
    _require(load.lengths in FILES, "workload.num_prompts=null: only traces have rows to count; set it")
    return dataclasses.replace(load, num_prompts=FILES[load.lengths].count(load))


def _check_load(run: RunConfig) -> None:
    load = run.workload
    check_lengths(load)
    if load.start_only:
        given = f"workload.num_prompts={load.num_prompts}"
        _require(load.num_prompts == 0, f"{given}: workload=none sends none; leave it out")
        _require(load.repeats == 1, f"workload.repeats={load.repeats}: workload=none has nothing to repeat; set 1")
        _require(load.search is None, "workload.search: workload=none has no load to vary; choose another workload")
    else:
        _require(load.request_count >= 1, f"workload.num_prompts={load.num_prompts}: must be 1 or more")
        _require(
            load.request_count <= MOST_PROMPTS,
            f"workload.num_prompts={load.num_prompts}: a run holds its requests in memory, {MOST_PROMPTS:,} at most",
        )
    _require(load.request_rate > 0, f"workload.request_rate={load.request_rate}: must be above 0, or inf")
    _require(load.burstiness > 0, f"workload.burstiness={load.burstiness}: must be above 0 (1 is Poisson)")
    _require(
        1 <= load.repeats <= MOST_REPEATS, f"workload.repeats={load.repeats}: must be 1 or more, up to {MOST_REPEATS:,}"
    )
    for key, groups in (
        ("prefix.groups", load.prefix.groups),
        ("conversations.system_groups", load.conversations.system_groups),
    ):
        _require(groups <= MOST_PROMPTS, f"workload.{key}={groups}: {MOST_PROMPTS:,} at most")
    for key in ("duration_s", "warmup_s"):
        seconds = getattr(load, key)
        _require(
            seconds is None or 0 < seconds < math.inf, f"workload.{key}={seconds}: must be above 0 and finite, or null"
        )
        _require(seconds is None or not load.start_only, f"workload.{key}={seconds}: workload=none sends nothing")
        _require(
            seconds is None or load.search is None,
            f"workload.{key}={seconds}: a search chooses how long its probes last; leave it out",
        )
    for key in ("max_concurrency", "client_processes"):
        value = getattr(load, key)
        _require(value is None or value >= 1, f"workload.{key}={value}: must be 1 or more, or null")
    drawn = load.shares_prompts and load.lengths is not Lengths.trace
    for key in () if drawn else ("input_len", "output_len"):
        length = getattr(load, key)
        span = [length, length] if isinstance(length, int) else length
        _require(
            isinstance(span, list)
            and len(span) == 2
            and all(type(end) is int for end in span)
            and 1 <= span[0] <= span[1] <= MOST_TOKENS,
            f"workload.{key}={length}: must be a number of tokens, or [least, most], up to {MOST_TOKENS:,}",
        )


def _check_objectives(load: Workload) -> None:
    for key, limit in load.slo.limits.items():
        _require(limit > 0, f"workload.slo.{key}={limit}: must be above 0")
    check_search(load)


def _check_context(run: RunConfig) -> None:
    limit = run.engine.max_model_len
    if isinstance(limit, str):
        _require(limit == "auto", f"engine.max_model_len={limit}: must be a number of tokens, or auto")
        limit = default_context(run.model)
    _require(limit >= 1, f"engine.max_model_len={limit}: must be 1 or more")
    check_context(run.model, limit)  # by any version's rule; once the version is known, `plan` checks by its own
    _require(
        0 < run.engine.gpu_memory_utilization <= 1,
        f"engine.gpu_memory_utilization={run.engine.gpu_memory_utilization}: must be above 0 and at most 1",
    )
    for key, least in (("restarts", 1), ("restart", 0)):
        value = getattr(run.engine, key)
        _require(
            least <= value <= MOST_REPEATS, f"engine.{key}={value}: must be {least} or more, up to {MOST_REPEATS:,}"
        )
    restarts = f"engine.restarts={run.engine.restarts}"
    _require(
        run.engine.base_url is None or run.engine.restarts == 1,
        f"{restarts}: the server at engine.base_url runs already, and vbench does not start it again; leave it out",
    )
    if run.workload.lengths is not Lengths.sharegpt_file:  # a file's conversations are chosen to fit
        longest = max(int(lengths(each.workload).sum(axis=1).max(initial=0)) for each in repeats(run))
        _require(
            longest <= limit,
            f"workload: its longest prompt and reply take {longest} tokens, but engine.max_model_len={limit}; "
            "raise that limit or shorten the workload",
        )


def _check_launcher(run: RunConfig) -> None:
    again, bound, retries = run.rerun, run.launcher.max_parallel, run.launcher.retries
    budget = run.launcher.budget_gpu_hours
    words = [each.name for each in Rerun if each is not Rerun.none]
    _require(
        isinstance(again, bool) or again in words,
        f"rerun={again}: must be true, false, {', '.join(words[:-1])} or {words[-1]}",
    )
    _require(bound is None or bound >= 1, f"launcher.max_parallel={bound}: must be 1 or more, or null")
    _require(
        budget is None or 0 < budget < math.inf,
        f"launcher.budget_gpu_hours={budget}: must be GPU hours above 0, or null",
    )
    _require(retries >= 0, f"launcher.retries={retries}: must be 0 or more")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused(otherwise)
