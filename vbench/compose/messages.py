"""What Hydra and OmegaConf raise, as one line for people: the key, what is wrong, what was probably meant."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vbench.compose.choices import LAUNCHERS, SIZES, gpu_names, groups
from vbench.compose.unknown import explain_unknown_key, nearest

UNQUOTED = re.compile(r"""=.*[\[,]([^\[\]{}"',=]+=[^\[\]{}"',]*)[\],]""")  # of the words of a list: one with a `=`
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException)


def explain(error: BaseException) -> str:
    """One line for one of COMPOSE_ERRORS."""
    text = str(error)
    if isinstance(error, MissingConfigException) and (named := re.search(r"Could not find '([\w/]+)/([^']*)'", text)):
        offered = LAUNCHERS if named[1] == "hydra/launcher" else error.options or []  # Hydra has a launcher of its own
        near = (
            _describe_own_file(named[1], named[2])
            or _describe_size(*named.groups())
            or nearest(named[2], list(offered))
        )
        return f"{named[1]}={named[2]}: no such choice; {near}"
    if isinstance(error, ConfigCompositionException) and (composition := _explain_composition(error)):
        return composition
    if key := _find_misplaced_key(error):
        return explain_unknown_key(key)
    if isinstance(error, OmegaConfBaseException) and error.full_key == "launcher":
        return f"launcher: its keys are set one by one; where sessions run is hydra/launcher={'|'.join(LAUNCHERS)}"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {(error.msg or text).splitlines()[0]}"
    if isinstance(error, OverrideParseException) and "missing EQUAL" in text:
        text = f"{error.override}: a value is missing, as {error.override}=VALUE"
    if isinstance(error, OverrideParseException) and (unquoted := UNQUOTED.search(error.override)):
        key, word = error.override.partition("=")[0], unquoted[1]
        text = f"{key}: quote what holds a '=' in a list, and for the shell the whole: '{key}=[…,\"{word}\",…]'"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _explain_composition(error: ConfigCompositionException) -> str | None:
    text, cause = str(error), error.__cause__
    if named := re.search(r"Could not override '([^']*)'", text):
        added = re.search(r"use (\+\S+)", text)
        if added and named[1] in groups():
            return f"{named[1]}: it has no default choice to replace; {_how_to_add(named[1], added[1])}"
        inner = str(getattr(cause, "full_key", None) or "")  # a key within a value: slo={foo: 1}
        return explain_unknown_key(inner if inner.startswith(f"{named[1]}.") else named[1])
    if in_file := re.match(r"In '([^']*)': ConfigKeyError .*full_key: (\S+)", text, re.DOTALL):
        return f"conf/{in_file[1]}.yaml: {explain_unknown_key(in_file[2])}"
    return explain(cause) if isinstance(cause, OmegaConfBaseException) else None


def _find_misplaced_key(error: BaseException) -> str | None:
    """The key that was set, added or removed although it is not there, or always is."""
    if removed := re.search(r"Could not delete from config. (?:The value of )?'([^']*)'", str(error)):
        return removed[1]
    is_misplaced = isinstance(error, (ConfigKeyError, ConfigAttributeError)) or "not support deletion" in str(error)
    return (
        str(error.full_key) if isinstance(error, OmegaConfBaseException) and error.full_key and is_misplaced else None
    )


def _how_to_add(group: str, override: str) -> str:
    """`override` is what would add the choice that was asked for, if there is one: "+campaign=smoke"."""
    choices = [f"+{group}={name}" for name in groups()[group]]
    return f"add it: {override}" if override in choices else nearest(override, choices)


def _describe_size(group: str, choice: str) -> str | None:
    """How to get a number of GPUs that is no choice, or a GPU that has no file; None for another word."""
    asked = re.fullmatch(r"([1-9]\d*)x(\w+)", choice)
    if group != "hardware" or asked is None:
        return None
    count, gpu = asked.groups()
    if gpu in gpu_names():
        sizes = ", ".join(map(str, SIZES))
        return f"the sizes are {sizes}; for {count} GPUs: hardware=1x{gpu} hardware.gpus={count}"
    near = nearest(gpu, gpu_names()) if gpu_names() else ""
    return (
        f"no GPU {gpu} is known: {near}; a file conf/gpu/{gpu}.yaml adds it (docs/own-gpu.md; vbench new gpu writes it)"
    )


def _describe_own_file(group: str, choice: str) -> str | None:
    """How the choice is found that lies below conf/ in the current folder, if one does."""
    own = Path("conf") / group / f"{choice}.yaml"
    if not own.exists():
        return None
    return f"{own} is found with hydra.searchpath=[file://{Path('conf').absolute()}]"
