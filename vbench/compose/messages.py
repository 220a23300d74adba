"""What Hydra and OmegaConf raise, as one line for people: the key, what is wrong, what was probably meant."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vbench.compose.choices import LAUNCHERS, SIZES, gpu_names, groups
from vbench.compose.help import describe_values
from vbench.compose.unknown import explain_unknown_key, nearest
from vbench.schema import RunConfig, keys

UNQUOTED = re.compile(r"""=.*[\[,]([^\[\]{}"',=]+=[^\[\]{}"',]*)[\],]""")  # of the words of a list: one with a `=`
UNFIT = re.compile(
    r"[Vv]alue '(.*?)'(?: of type|,? is not a valid|, expected)", re.DOTALL
)  # of OmegaConf: of a wrong type
SPLIT = re.compile(
    r"(?:tp(?P<tensor_parallel_size>\d+))?(?:pp(?P<pipeline_parallel_size>\d+))?"
    r"(?:adp(?P<attention_data_parallel_size>\d+))?(?:dp(?P<data_parallel_size>\d+))?"
)
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException)


def explain(error: BaseException) -> str:
    """One line for one of COMPOSE_ERRORS."""
    text = str(error)
    if isinstance(error, MissingConfigException) and (named := re.search(r"Could not find '([\w/]+)/([^']*)'", text)):
        offered = LAUNCHERS if named[1] == "hydra/launcher" else error.options or []  # Hydra has a launcher of its own
        near = (
            _describe_own_file(named[1], named[2])
            or _describe_size(*named.groups())
            or _describe_split(*named.groups())
            or nearest(named[2], list(offered))
        )
        return f"{named[1]}={named[2]}: no such choice; {near}"
    if isinstance(error, ConfigCompositionException) and (composition := _explain_composition(error)):
        return composition
    if key := _find_misplaced_key(error):
        return explain_unknown_key(key)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        text = _explain_unfit_value(error)
    if isinstance(error, OverrideParseException):
        text = _explain_unreadable(error.override) or text
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _explain_unfit_value(error: OmegaConfBaseException) -> str:
    """What a key takes whose value is of another type."""
    name, why = str(error.full_key), (error.msg or str(error)).splitlines()[0]
    if name == "launcher":
        return f"launcher: its keys are set one by one; where sessions run is hydra/launcher={'|'.join(LAUNCHERS)}"
    if within := [each.name for each in keys(RunConfig) if each.name.startswith(f"{name}.")]:
        return f"{name}: it holds keys, not a value; set them one by one, as {within[0]}=…, or as '{name}={{…}}'"
    key = next((each for each in keys(RunConfig) if each.name == name), None)
    if key is None:
        return f"{name}: {why}"
    takes = re.sub("^(whole )?number", r"a \g<0>", "; ".join(filter(None, (describe_values(key), key.allowed))))
    if (told := UNFIT.search(error.msg or "")) is None:
        return f"{name}: must be {takes}: {key.meaning}"
    several = f"; several points are given as {name}=A,B" if told[1].startswith("[") else ""
    return f"{name}={told[1]}: must be {takes}{several}"


def _explain_unreadable(word: str) -> str | None:
    """What to do of a word that Hydra's grammar cannot read; None if that is not known."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"{word}: a value is missing, as {word}=VALUE"
    if unquoted := UNQUOTED.search(word):
        inner = unquoted[1]
        return f"{key}: quote what holds a '=' in a list, and for the shell the whole: '{key}=[…,\"{inner}\",…]'"
    for opening, closing in ("{}", "[]"):
        if value.count(opening) != value.count(closing):
            return f"{word}: its {opening} and {closing} do not pair; quote the whole for the shell: '{key}=…'"
    if value.rstrip().endswith(","):
        return f"{word}: a value is missing after the last comma"
    if not set(value) & set("{}[]'\""):
        return f"{word}: it cannot be read as it stands; quote it, and for the shell the whole: '{key}=\"{value}\"'"
    return None


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


def _describe_split(group: str, choice: str) -> str | None:
    """How to get a split of one's own; None for a word that names none."""
    asked = SPLIT.fullmatch(choice)
    if group != "parallelism" or asked is None or not choice:
        return None
    sizes = [f"parallelism.{key}={size}" for key, size in asked.groupdict().items() if size]
    return f"parallelism=tp splits over all GPUs of hardware=; this split: {' '.join(sizes)}"


def _describe_own_file(group: str, choice: str) -> str | None:
    """How the choice is found that lies below conf/ in the current folder, if one does."""
    own = Path("conf") / group / f"{choice}.yaml"
    if not own.exists():
        return None
    return f"{own} is found with hydra.searchpath=[file://{Path('conf').absolute()}]"
