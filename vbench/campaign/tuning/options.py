"""From the mapping `tune` to the configs of its combinations; those that cannot be run are left out with the reason."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vbench.plan.fit import find_infeasibility
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import RunConfig, to_plain
from vbench.schema.errors import Refused

DEFAULTS = "defaults"
BARE = re.compile(r"(--)?[A-Za-z_][\w./-]*")
WORDS = {"null", "true", "false", "inf", "nan"}  # which Hydra reads as other types
MOST = 10_000  # combinations: each is composed
FORM = "name values to try by key, as 'tune={engine.max_num_seqs: [64, 128], engine.max_num_batched_tokens: [2048]}'"


@dataclass(frozen=True)
class Option:
    """One combination: its overrides, none for the defaults, and its config."""

    words: tuple[str, ...]
    config: RunConfig
    point: tuple[int, ...] = ()  # the places of its values, one for each key

    @property
    def name(self) -> str:
        return " ".join(self.words) or DEFAULTS


@dataclass(frozen=True)
class Space:
    """What there is to choose from."""

    default: Option
    options: list[Option]
    skipped: list[tuple[str, str]]  # names of combinations that are not tried, and why
    sizes: tuple[int, ...]  # how many values each key has


def make_space(tune: Mapping[str, Any], compose: Callable[[list[list[str]]], Iterator[RunConfig]]) -> Space:
    """Raises Refused if the mapping is none, or if the defaults cannot be run; and what `compose` raises."""
    keys = list_words(tune)
    points = list(itertools.product(*(range(len(words)) for words in keys)))
    combinations = [tuple(words[place] for words, place in zip(keys, point, strict=True)) for point in points]
    default, *configs = compose([[], *map(list, combinations)])
    space = Space(Option((), check_run(default)), [], [], tuple(map(len, keys)))
    seen = {str(to_plain(space.default.config)): DEFAULTS}
    for words, point, config in zip(combinations, points, configs, strict=True):
        name = " ".join(words)
        try:
            checked = check_run(config)
        except Refused as refused:
            space.skipped.append((name, str(refused)))
            continue
        same = seen.setdefault(str(to_plain(checked)), name)
        why = f"the same as {same}" if same != name else _explain_misfit(checked)
        if why:
            space.skipped.append((name, why))
        else:
            space.options.append(Option(words, checked, point))
    return space


def list_words(tune: Mapping[str, Any]) -> list[list[str]]:
    """The overrides of each key, in the order given. Raises Refused if the mapping has another form."""
    if not tune:
        raise Refused(f"tune: is missing; {FORM}")
    keys = []
    for key, values in tune.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise Refused(f"tune: {key}: {values}: must be a list of values; {FORM}")
        words = [f"{key}={render(value)}" for value in values]
        keys.append(list(dict.fromkeys(words)))
    count = 1
    for words in keys:
        count *= len(words)
    if count > MOST:
        raise Refused(f"tune: {count:,} combinations; {MOST:,} at most")
    return keys


def render(value: Any) -> str:
    """The value as an override gives it: a text that would be read as another type is quoted."""
    if isinstance(value, str):
        bare = BARE.fullmatch(value) and value.lower() not in WORDS
        return value if bare else "'" + value.replace("'", "\\'") + "'"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{render(each)}' for key, each in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(map(render, value))}]"
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def drop_keys(words: Sequence[str], given: Sequence[str]) -> list[str]:
    """The words without those whose key is given besides."""
    keys = {_read_key(word) for word in given}
    return [word for word in words if _read_key(word) not in keys]


def _read_key(word: str) -> str:
    return word.lstrip("+").partition("=")[0]


def _explain_misfit(config: RunConfig) -> str:
    """Why this certainly does not fit, empty if it may."""
    session, *_ = plan([(config, "")])  # its further starts and repeats need the same
    failure = find_infeasibility(session)
    return failure.line if failure else ""
