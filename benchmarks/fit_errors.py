"""How far `vbench fit` errs: its KV tokens against those of every recorded start, and with the start's model left out.

    python benchmarks/fit_errors.py docs/results

Left out: the two constants of vbench/plan/memory/profile.py for CUDA graphs and for experts are fitted again (medians
of what the shapes do not explain) to the starts of all other models, and the error is that of the model left out.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from vbench.plan.extra_args import BLOCKS_OVERRIDE, find_number
from vbench.plan.memory.estimate import Fit, count_usable, estimate_fit, find_pool
from vbench.plan.memory.terms import GIB
from vbench.schema import RunConfig, from_plain
from vbench.schema.archives import read_records


@dataclass(frozen=True)
class Start:
    """One recorded system: its name, config and KV tokens, and what it spent beyond the estimate, in GiB."""

    name: str
    config: RunConfig
    version: str
    tokens: int
    beyond: float

    @property
    def routed(self) -> bool:
        return self.config.model.num_experts > 0


def main(folders: list[str]) -> int:
    starts = read_starts([Path(folder) for folder in folders])
    print(f"{'start':44} {'recorded':>10} {'estimated':>10} {'error':>7} {'left out':>8}")
    errors, left_out = [], []
    for start in starts:
        fit = estimate_fit(start.config, start.version)
        errors.append(fit.kv_cache_tokens / start.tokens - 1)
        others = [each for each in starts if each.config.model.name != start.config.model.name]
        left_out.append(count_tokens(start, fit, shift_of(others, routed=start.routed)) / start.tokens - 1)
        numbers = f"{start.tokens:10,} {fit.kv_cache_tokens:10,} {errors[-1]:+7.2%} {left_out[-1]:+8.2%}"
        print(f"{start.name:44} {numbers}")
    for title, values in (("error", errors), ("left out", left_out)):
        sizes = [abs(value) for value in values]
        print(f"{title}: median {statistics.median(sizes):.2%}, worst {max(sizes):.2%}, over {len(sizes)} starts")
    return 0


def read_starts(folders: list[Path]) -> list[Start]:
    """The recorded starts below these folders, one of each system, max_model_len and number of tokens.

    Without those that were told how many blocks to use: their tokens say nothing of what memory holds.
    """
    found: dict[tuple[str, object, int], Start] = {}
    for record in (record for folder in folders for record in read_records(folder)):
        if not record.server.get("kv_cache_tokens"):
            continue
        config: RunConfig = from_plain(RunConfig, record.config)
        if find_number(config.engine.extra_args, BLOCKS_OVERRIDE) is not None:
            continue
        tokens, version = record.server["kv_cache_tokens"], record.environment["engine"]
        name = f"{record.session.rpartition('-')[0]} max_model_len={config.engine.max_model_len}"
        fit = estimate_fit(config, version)
        assert config.hardware.gpu is not None
        spent = count_usable(config.hardware.gpu, config.engine.gpu_memory_utilization) - find_pool(config).count_bytes(
            tokens, record.server["max_model_len"]
        )
        beyond = (spent - sum(term.bytes for term in fit.terms)) / GIB
        found.setdefault((name, config.engine.max_model_len, tokens), Start(name, config, version, tokens, beyond))
    return list(found.values())


def shift_of(starts: list[Start], *, routed: bool) -> float:
    """GiB to add to the constants, as these starts have it: medians over models of one kind."""
    alike = [start.beyond for start in starts if start.routed == routed]
    return statistics.median(alike)


def count_tokens(start: Start, fit: Fit, shift: float) -> int:
    """KV tokens if the constants were larger by so many GiB."""
    pool = find_pool(start.config)
    if start.routed:  # what experts take is divided among the GPUs that share a layer
        shift /= start.config.parallelism.tensor_parallel_size or 1
    blocks = pool.count_blocks(fit.available - shift * GIB)
    length = start.config.engine.max_model_len
    if not isinstance(length, int):
        length = pool.find_longest(blocks, max(fit.max_context_tokens, 1))
    return pool.count_tokens(blocks, length)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["docs/results"]))
