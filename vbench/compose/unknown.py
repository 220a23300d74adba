"""What to say of a dotted key that the schema lacks: what was probably meant, or how it is added."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from vbench.schema import RunConfig, keys

MOST_LISTED = 8  # choices in a line
MOST_NEAR = 4  # of more choices than that
ALIKE = 0.5  # of 1.0, for a choice that was probably meant


def explain_unknown_key(key: str) -> str:
    """One line, which names the key; the same for one that exists but was to be added or removed.

    `key` may begin with Hydra's + or ~.
    """
    name = key.lstrip("+~")
    parts = name.split(".")
    kinds = {each.name: each.kinds for each in keys(RunConfig)}
    mapping = next((known for known in _beginnings(parts) if dict in kinds.get(known, ())), None)
    if mapping is not None and mapping != name:
        return f"{name}: not set yet; +{name}=… adds it"
    if name in kinds or any(known.startswith(f"{name}.") for known in kinds):
        return f"{name}: a key that is always there; it can be set, but not added or removed"
    return f"{name}: no such key; {_nearest_key(parts, list(kinds))}"


def nearest(word: str, choices: Sequence[str]) -> str:
    """Which of the choices was probably meant, and all of them; of many the nearest."""
    begin = [choice for choice in choices if choice.startswith(word)]
    likeness = {choice: difflib.SequenceMatcher(None, choice, word).ratio() for choice in choices}
    alike = [choice for choice in choices if likeness[choice] >= ALIKE]
    near = sorted(alike, key=lambda choice: -likeness[choice]) or begin  # of equals, the first
    if len(choices) > MOST_LISTED:
        return _cut(near, choices)
    listed = f"choose from {', '.join(choices)}" if choices else "see --help"
    return f"did you mean {near[0]}? ({listed})" if near else listed


def _cut(near: Sequence[str], choices: Sequence[str]) -> str:
    """The nearest of many choices, and where all of them stand."""
    everything = f"vbench --help lists all {len(choices)}"
    if not near:
        return f"choose from {', '.join(choices[:MOST_LISTED])}, …; {everything}"
    first, *others = near[:MOST_NEAR]
    further = f"or {', '.join(others)}; " if others else ""
    return f"did you mean {first}? ({further}{everything})"


def _nearest_key(parts: Sequence[str], known: Sequence[str]) -> str:
    """Of the keys where the first unknown part stands; a key given without its part is looked for in every part."""
    given = ".".join(parts)
    groups = {name for each in known for name in _beginnings(each.split("."))}
    whole = [each for each in groups if each.endswith(f".{given}")]
    if len(whole) == 1:
        return f"did you mean {whole[0]}?"
    depth = 1 + max((len(each.split(".")) for each in _beginnings(parts) if _is_part(each, known)), default=0)
    wrong, level = ".".join(parts[:depth]), {".".join(each.split(".")[:depth]) for each in known}
    return nearest(
        wrong, sorted(each for each in level if each.startswith("".join(f"{part}." for part in parts[: depth - 1])))
    )


def _is_part(name: str, known: Sequence[str]) -> bool:
    return any(each.startswith(f"{name}.") for each in known)


def _beginnings(parts: Sequence[str]) -> list[str]:
    """`a`, `a.b` and `a.b.c` of a.b.c."""
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
