"""What Hydra and OmegaConf raise, as one line for people: the key, what is wrong, what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vbench.compose.containers import make_container
from vbench.schema import RunConfig

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException)


def explain(error: BaseException) -> str:
    """One line for one of COMPOSE_ERRORS."""
    text = str(error)
    if isinstance(error, MissingConfigException) and (named := re.search(r"Could not find '([\w/]+)/([^']*)'", text)):
        return f"{named[1]}={named[2]}: no such choice; {nearest(named[2], error.options or [])}"
    if isinstance(error, ConfigCompositionException) and (named := re.search(r"Could not override '([^']*)'", text)):
        inner = str(getattr(error.__cause__, "full_key", None) or "")  # a key within a value: slo={foo: 1}
        return _unknown_key(inner if inner.startswith(f"{named[1]}.") else named[1])
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return explain(error.__cause__)
    if isinstance(error, (ConfigKeyError, ConfigAttributeError)) and error.full_key:
        return _unknown_key(str(error.full_key))
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {(error.msg or text).splitlines()[0]}"
    if isinstance(error, OverrideParseException) and "missing EQUAL" in text:
        text = f"{error.override}: a value is missing, as {error.override}=VALUE"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def nearest(word: str, choices: Sequence[str]) -> str:
    """Which of the choices was probably meant, and all of them."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    listed = f"choose from {', '.join(choices)}" if choices else "see --help"
    return f"did you mean {near[0]}? ({listed})" if near else listed


def _unknown_key(key: str) -> str:
    *path, _ = key.removeprefix("+").split(".")
    schema = make_container(RunConfig)
    known = OmegaConf.select(schema, ".".join(path)) if path else schema
    if isinstance(known, DictConfig) and OmegaConf.get_type(known) is dict:
        return f"{key}: not set yet; +{key}=… adds it"
    names = [str(name) for name in known] if isinstance(known, DictConfig) else []
    return f"{key}: no such key; {nearest(key, sorted('.'.join([*path, name]) for name in names))}"
