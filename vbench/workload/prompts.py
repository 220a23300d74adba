"""Prompts as token ids, so that lengths are exact and no tokenizer is needed under load.

Random ids share no prefix, and the generator is seeded with the whole workload: no two different runs on a server send
the same prompt, so its prefix cache never hits.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from vbench.schema import Lengths, Workload
from vbench.schema.record import Ints
from vbench.schema.structure import Structure
from vbench.workload import sharegpt, trace
from vbench.workload.seeding import RECIPE, generator
from vbench.workload.sharing import FILES, find_script

FIRST_ID = 256  # special tokens lie below it in most vocabularies, in the last quarter in Llama's
BEGINNING = 4  # tokens: as many as the shortest prompt of a file has


@dataclass(frozen=True)
class Prompts:
    """n prompts: their token ids, and how many tokens each reply is to have."""

    ids: list[npt.NDArray[np.int32]]  # of each prompt; with a structure, of each of its parts
    output_len: Ints  # (n,)
    structure: Structure | None = None

    @property
    def input_len(self) -> Ints:
        """Tokens of each prompt, (n,), if all replies that it carries reach their length."""
        tokens = np.array([len(ids) for ids in self.ids], np.int64)
        return tokens if self.structure is None else self.structure.prompt_tokens(tokens, self.output_len)


def prompts(workload: Workload, vocab_size: int, tokenizer: str, max_model_len: int) -> Prompts:
    """The prompts of a run. `tokenizer` (a hub id or folder) and `max_model_len` serve `sharegpt_file` only."""
    if workload.lengths is Lengths.sharegpt_file:
        return Prompts(*sharegpt.conversations(workload, tokenizer, max_model_len))
    if made := find_script(workload):
        ids = _draw_ids(workload, vocab_size, made.part_tokens)
        return Prompts(ids, made.output_len, made.structure)
    return _random_prompts(workload, vocab_size, lengths(workload))


def draw_prompts(workload: Workload, vocab_size: int, tokenizer: str, max_model_len: int) -> Prompts:
    """`prompts`, but with a random choice of ShareGPT's pairs, so that short runs differ by their seed."""
    if workload.lengths is not Lengths.sharegpt:
        return prompts(workload, vocab_size, tokenizer, max_model_len)
    return _random_prompts(workload, vocab_size, draw_lengths(workload, generator(workload, "pairs")))


def redraw(asked: Prompts, vocab_size: int, nonce: str) -> Prompts:
    """Prompts of the same lengths with other token ids, which follow from the nonce and from nothing else."""
    rng = np.random.default_rng(list(hashlib.sha256(nonce.encode()).digest()))
    ids = [rng.integers(FIRST_ID, vocab_size * 3 // 4, len(each), dtype=np.int32) for each in asked.ids]
    return replace(asked, ids=ids)


def replace_beginnings(asked: Prompts, vocab_size: int, nonce: str) -> Prompts:
    """The prompts with other token ids at their beginning, by the nonce: no block of a prefix cache fits any more."""
    beginnings = redraw(Prompts([ids[:BEGINNING] for ids in asked.ids], asked.output_len), vocab_size, nonce).ids
    ids = [np.concatenate([new, old[BEGINNING:]]) for new, old in zip(beginnings, asked.ids, strict=True)]
    return Prompts(ids, asked.output_len)


def _random_prompts(workload: Workload, vocab_size: int, pairs: Ints) -> Prompts:
    return Prompts(_draw_ids(workload, vocab_size, pairs[:, 0]), pairs[:, 1])


def _draw_ids(workload: Workload, vocab_size: int, tokens: Ints) -> list[npt.NDArray[np.int32]]:
    """Random ids, as many as `tokens` (m,) says for each of m texts."""
    rng = generator(workload, "prompts")
    ids = rng.integers(FIRST_ID, vocab_size * 3 // 4, int(tokens.sum()), dtype=np.int32)
    return np.split(ids, np.cumsum(tokens[:-1]))


def lengths(workload: Workload) -> Ints:
    """Shape (num_prompts, 2): prompt and reply tokens. ShareGPT's pairs repeat beyond their 1,280."""
    if workload.lengths is Lengths.sharegpt:
        return np.resize(_sharegpt_pairs(), (workload.request_count, 2))
    if made := find_script(workload):
        return made.lengths
    if workload.lengths is Lengths.trace:
        return trace.read(workload).lengths
    rng = generator(workload, "lengths")
    low, high = np.transpose([_span(workload.input_len), _span(workload.output_len)])
    return rng.integers(low, high + 1, (workload.request_count, 2), dtype=np.int64)


def digest(workload: Workload) -> str:
    """A hash that names a run's prompts without building them: of the recipe and the content of its file."""
    if workload.lengths is Lengths.sharegpt_file:
        content = sharegpt.content(workload)
    elif workload.lengths in FILES:
        content = FILES[workload.lengths].content(workload)
    else:  # random lengths follow from the workload, which is in the run key itself
        content = _sharegpt_pairs().tobytes() if workload.lengths is Lengths.sharegpt else b""
    return hashlib.sha256(b"%d" % RECIPE + content).hexdigest()[:16]


def _span(length: int | list[int]) -> list[int]:
    return [length, length] if isinstance(length, int) else length


@cache
def _sharegpt_pairs() -> Ints:
    # 1,280 published pairs of prompt and reply; their reply lengths of 0 are replies that ended at once.
    with files("vbench.workload").joinpath("sharegpt_lengths.csv").open() as table:
        rows = [(int(row["input_tokens"]), max(1, int(row["output_tokens"]))) for row in csv.DictReader(table)]
    return np.array(rows, dtype=np.int64)


def draw_lengths(workload: Workload, rng: np.random.Generator) -> Ints:
    """`lengths`, but with a random choice of ShareGPT's pairs: each once before any comes again."""
    if workload.lengths is not Lengths.sharegpt:
        return lengths(workload)
    pairs = _sharegpt_pairs()
    passes = -(-workload.request_count // len(pairs))
    order = np.concatenate([rng.permutation(len(pairs)) for _ in range(passes)])
    chosen: Ints = pairs[order[: workload.request_count]]
    return chosen
