"""Prompts from a ShareGPT JSON file of the user's, kept and dropped by the rules of `vllm bench serve`.

Published files hold entries that no client can send: without conversations, with null or a number in place of a text,
with lone surrogates. These are left out; `vllm bench serve` leaves out the first kind and stops at the others.
"""

from __future__ import annotations

import hashlib
import json
import random
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vbench.schema import Workload
from vbench.schema.errors import Refused
from vbench.schema.record import Ints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

LEAST_TOKENS = 4
MOST_INPUT_TOKENS = 1024
MOST_TOKENS = 2048


def conversations(workload: Workload, tokenizer: str, max_model_len: int) -> tuple[list[npt.NDArray[np.int32]], Ints]:
    """Token ids of `num_prompts` first turns, and the tokens of the replies to them, shape (num_prompts,).

    Conversations are shuffled by the seed; pairs outside vLLM's bounds, and those that are not text, are dropped.
    Raises Refused if the file is not ShareGPT or holds too few.
    """
    encode = _tokenizer(tokenizer).encode
    turns = _turns(workload)
    random.Random(workload.seed).shuffle(turns)

    def fitting() -> Iterator[tuple[npt.NDArray[np.int32], int]]:
        for question, answer in turns:
            if not (_is_text(question) and _is_text(answer)):
                continue
            ids = np.array(encode(question).ids, dtype=np.int32)
            reply = len(encode(answer).ids)
            total = len(ids) + reply
            long_enough = min(len(ids), reply) >= LEAST_TOKENS
            if long_enough and len(ids) <= MOST_INPUT_TOKENS and total <= min(MOST_TOKENS, max_model_len):
                yield ids, reply

    kept = list(islice(fitting(), workload.request_count))
    if len(kept) < workload.request_count:
        odd = sum(not (_is_text(question) and _is_text(answer)) for question, answer in turns)
        raise Refused(
            f"workload.num_prompts={workload.request_count}: {workload.path} has only {len(kept)} fitting "
            f"conversations of {len(turns)}, {odd} of which are not text; ask for no more"
        )
    return [ids for ids, _ in kept], np.array([reply for _, reply in kept], dtype=np.int64)


def content(workload: Workload) -> bytes:
    """A digest of the file's content. Raises Refused if there is no such file."""
    if not workload.path or not Path(workload.path).is_file():
        given = f"={workload.path}: no such file" if workload.path else ": not given"
        raise Refused(f"workload.path{given}; give the path of a ShareGPT JSON file")
    return file_digest(Path(workload.path).resolve(), Path(workload.path).stat().st_mtime_ns)


@cache
def file_digest(path: Path, _modified_ns: int) -> bytes:
    """SHA-256 of a file; the modification time is part of the cache's key, so a changed file is read again."""
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.digest()


def _turns(workload: Workload) -> list[tuple[Any, Any]]:
    """The first two turns of each conversation with at least two; None for a turn without a value."""
    try:
        entries = json.loads(Path(workload.path or "").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"workload.path={workload.path}: not a ShareGPT JSON file ({error!r})") from error
    if not isinstance(entries, list):
        raise Refused(f"workload.path={workload.path}: not a ShareGPT JSON file (it must be a list of conversations)")
    talks = [entry.get("conversations") for entry in entries if isinstance(entry, dict)]
    turns = [talk[:2] for talk in talks if isinstance(talk, list) and len(talk) >= 2]
    return [(_value(question), _value(answer)) for question, answer in turns]


def _value(turn: Any) -> Any:
    return turn.get("value") if isinstance(turn, dict) else None


def _is_text(value: Any) -> bool:
    """Whether a turn's value is a string of Unicode characters: JSON may also spell halves of surrogate pairs."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _tokenizer(name: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise Refused("workload=sharegpt_file needs the tokenizers package: pip install tokenizers") from error
    file = Path(name) / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file)) if file.parent.is_dir() else Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises bare Exceptions
        raise Refused(f"model.hub_id={name}: its tokenizer is neither cached nor reachable ({error})") from error
