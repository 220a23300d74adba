"""What Hydra and OmegaConf raise, as one line for people: the key, what is wrong, what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vbench.compose.choices import LAUNCHERS, groups
from vbench.compose.containers import make_container
from vbench.schema import RunConfig

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException)


def explain(error: BaseException) -> str:
    """One line for one of COMPOSE_ERRORS."""
    text = str(error)
    if isinstance(error, MissingConfigException) and (named := re.search(r"Could not find '([\w/]+)/([^']*)'", text)):
        offered = LAUNCHERS if named[1] == "hydra/launcher" else error.options or []  # Hydra has a launcher of its own
        return f"{named[1]}={named[2]}: no such choice; {nearest(named[2], list(offered))}"
    if isinstance(error, ConfigCompositionException) and (composition := _explain_composition(error)):
        return composition
    if isinstance(error, (ConfigKeyError, ConfigAttributeError)) and error.full_key:
        return _unknown_key(str(error.full_key))
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {(error.msg or text).splitlines()[0]}"
    if isinstance(error, OverrideParseException) and "missing EQUAL" in text:
        text = f"{error.override}: a value is missing, as {error.override}=VALUE"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _explain_composition(error: ConfigCompositionException) -> str | None:
    text, cause = str(error), error.__cause__
    if named := re.search(r"Could not override '([^']*)'", text):
        inner = str(getattr(cause, "full_key", None) or "")  # a key within a value: slo={foo: 1}
        return _unknown_key(inner if inner.startswith(f"{named[1]}.") else named[1])
    if in_file := re.match(r"In '([^']*)': ConfigKeyError .*full_key: (\S+)", text, re.DOTALL):
        return f"conf/{in_file[1]}.yaml: {_unknown_key(in_file[2])}"
    return explain(cause) if isinstance(cause, OmegaConfBaseException) else None


def nearest(word: str, choices: Sequence[str]) -> str:
    """Which of the choices was probably meant, and all of them."""
    begin = [choice for choice in choices if choice.startswith(word)]
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5) or begin
    listed = f"choose from {', '.join(choices)}" if choices else "see --help"
    return f"did you mean {near[0]}? ({listed})" if near else listed


def _unknown_key(key: str) -> str:
    *path, _ = key.removeprefix("+").split(".")
    if not path and key in groups():
        return f"{key}: it has no default choice to replace; add one, as +{key}=NAME ({', '.join(groups()[key])})"
    schema = make_container(RunConfig)
    known = OmegaConf.select(schema, ".".join(path)) if path else schema
    if isinstance(known, DictConfig) and OmegaConf.get_type(known) is dict:
        return f"{key}: not set yet; +{key}=… adds it"
    names = [str(name) for name in known] if isinstance(known, DictConfig) else []
    return f"{key}: no such key; {nearest(key, sorted('.'.join([*path, name]) for name in names))}"
