"""Names of runs, for people: `llama70b · 2xh100 · tp2 · n320`. Pure.

A name is short: MLflow and folders have it too. `say_name` writes it out where people read.

If a grid varies a key that this name does not show, the name gets its value too:
`llama70b · 2xh100 · tp2 · max_model_len=auto · n320`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from vbench.schema import Parallelism, RunConfig

DOT = " · "
LEAVES = frozenset({str, int, float, bool, type(None), list})
ABSENT = object()  # the value of a key that a config does not have
RATE = r"[\d.]+(?:e[+-]?\d+)?"
LOAD_WORDS = (  # the parts of a load's name, and how each is said
    (r"n(\d+)", "{} prompts"),
    (rf"r({RATE})", "{} req/s"),
    (rf"r({RATE})-({RATE})", "{} to {} req/s"),
    (r"([\d.e+-]+)s", "for {} s"),
    (r"w([\d.e+-]+)", "after {} s of warm-up"),
    (r"u(\d+)", "{} sessions at once"),
    (rf"u({RATE})-a-second", "{} sessions/s"),
    (r"c(\d+)", "{} at once"),
    (r"slo max_concurrency", "most at once within the SLO"),
    (r"slo request_rate", "most req/s within the SLO"),
    (r"slo sessions", "most sessions within the SLO"),
)
NO_REPEATS: Mapping[str, int] = {}


def run_name(config: RunConfig) -> str:
    """Model, hardware, split and load, joined by dots."""
    return DOT.join((config.model.name, config.system_label, split_name(config.parallelism), load_name(config)))


def split_name(split: Parallelism) -> str:
    """`tp2`, `dp4`, `tp2dp2`, `tp8ep`, `adp2ep` (attention data parallel); `tp1` if the model is not split."""
    sizes = (
        ("tp", split.tensor_parallel_size),
        ("pp", split.pipeline_parallel_size),
        ("adp", split.attention_data_parallel_size),
        ("dp", split.data_parallel_size),
    )
    return ("".join(f"{short}{size}" for short, size in sizes if size and size > 1) or "tp1") + (
        "ep" if split.enable_expert_parallel else ""
    )


def load_name(config: RunConfig) -> str:
    """`n320`, `n320 r8 c64 s1`; `start` if nothing is sent."""
    load = config.workload
    if load.start_only:
        return "start"
    parts = [] if load.search else [f"n{load.num_prompts}"]  # a search chooses how many it sends
    parts += [] if math.isinf(load.request_rate) else [f"r{load.request_rate:g}"]
    parts += [f"r{load.ramp_up_start_rps:g}-{load.ramp_up_end_rps:g}"] if load.ramp_up_strategy else []
    parts += [f"{load.duration_s:g}s"] if load.duration_s else []
    parts += [f"w{load.warmup_s:g}"] if load.warmup_s else []
    parts += [load.lengths.name] if load.shares_prompts else []
    parts += [f"u{load.sessions}"] if load.sessions else []
    parts += [f"u{load.session_rate:g}-a-second"] if load.session_rate else []
    parts += [load.routing.name] if load.routing else []
    parts += [f"c{load.max_concurrency}"] if load.max_concurrency else []
    parts += [f"slo {load.search.name}"] if load.search else []
    parts += [f"s{load.seed}"] if load.seed else []
    return " ".join(parts)


def number_repeats(names: Iterable[str]) -> dict[str, int]:
    """Which repeat each of a campaign's runs is, from 1; only of those that are repeated from the first seed on.

    A seed that was asked for, without the ones below it, is no repeat.
    """
    seeds: dict[str, set[int]] = {}
    for name in names:
        load, seed = _split_seed(name)
        seeds.setdefault(load, set()).add(seed)
    repeated = {load: found for load, found in seeds.items() if len(found) > 1 and found == {*range(len(found))}}
    return {f"{load} s{seed}" if seed else load: seed + 1 for load, found in repeated.items() for seed in found}


def say_load(name: str, repeats: Mapping[str, int] = NO_REPEATS) -> str:
    """The load at the end of a run's name in words: "320 prompts, 8 req/s, 64 at once, repeat 2".

    A seed is said as it is, unless `repeats` (of `number_repeats`) tells which repeat this run is.
    """
    load = name.rpartition(DOT)[2]
    if ", probe " in load:  # of a search: named in words already
        return load
    whole, seed = _split_seed(name)
    words = [_say_part(part) for part in re.findall(r"slo \S+|\S+", whole.rpartition(DOT)[2])]
    if name in repeats:
        words.append(f"repeat {repeats[name]}")
    elif seed:
        words.append(f"seed {seed}")
    return ", ".join(words)


def say_name(name: str, repeats: Mapping[str, int] = NO_REPEATS) -> str:
    """A run's name with its load in words: "llama70b · 2xh100 · tp2 · 320 prompts, 64 at once"."""
    return replace_load(name, say_load(name, repeats)) if DOT in name else name


def _split_seed(name: str) -> tuple[str, int]:
    """A run's name without its seed, and the seed."""
    found = re.fullmatch(r"(.*\S) s(\d+)", name)
    return (found[1], int(found[2])) if found else (name, 0)


def _say_part(part: str) -> str:
    for pattern, text in LOAD_WORDS:
        if found := re.fullmatch(pattern, part):
            return "1 prompt" if part == "n1" else text.format(*found.groups())
    return part


def replace_load(name: str, load: str) -> str:
    """The same name with another load at its end."""
    return DOT.join((name.rpartition(DOT)[0], load))


def find_differing_keys(facts: Sequence[Mapping[str, Any]]) -> set[str]:
    """The dotted keys whose values differ between these configs (as plain data)."""
    leaves = [dict(dotted_leaves(each)) for each in facts]
    keys = dict.fromkeys(key for each in leaves for key in each)
    return {key for key in keys if _differ([each.get(key, ABSENT) for each in leaves])}


def _differ(values: Sequence[Any]) -> bool:
    first = values[0]
    if all(value is first for value in values):  # most keys: writing thousands of equal values takes seconds
        return False
    return len({None if value is ABSENT else format_value(value) for value in values}) > 1


def add_values(name: str, facts: Mapping[str, Any], keys: Collection[str]) -> str:
    """The name with the config's values of these dotted keys inserted before its load: `max_model_len=auto`."""
    words = [f"{key.rpartition('.')[2]}={format_value(value)}" for key, value in dotted_leaves(facts) if key in keys]
    system, _, load = name.rpartition(DOT)
    return DOT.join((system, " ".join(words), load)) if words else name


def dotted_leaves(facts: Any, path: str = "") -> list[tuple[str, Any]]:
    """Nested dicts as (dotted path, leaf); an empty dict has no leaves."""
    if type(facts) is not dict and not isinstance(facts, Mapping):
        return [(path, facts)]
    found = []
    for key, value in facts.items():
        name = f"{path}.{key}" if path else str(key)
        if type(value) in LEAVES:  # most of them; a look into the abstract class takes longer than all else here
            found.append((name, value))
        else:
            found += dotted_leaves(value, name)
    return found


def format_value(value: Any) -> str:
    """A value as one would type it in an override: null, true, inf, [1, 2]."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
