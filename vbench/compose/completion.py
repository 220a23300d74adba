"""Completion of a command line: groups, choices, keys and their values; and the few lines that a shell sources for it.

It composes nothing, so it answers in a third of the time that Hydra's own completion takes; and that knows neither our
commands, nor the words of an enum, nor the second choice of a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vbench.compose.choices import defaults, groups
from vbench.schema import RunConfig, keys

FLAGS = ("--help", "--version", "--completion", "--cfg", "--multirun")
SHELLS = ("bash", "zsh")
SCRIPT = """\
_vbench() {
    local IFS=$'\\n' line=${COMP_LINE:0:$COMP_POINT}
    local word=${line##*[[:space:]]}
    COMPREPLY=($("$1" --complete "$line" 2>/dev/null))
    # bash replaces only what follows the last "=", unless that is no word break
    if [[ -n $BASH_VERSION && $COMP_WORDBREAKS == *=* && $word == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
    fi
}
complete -o nospace -o default -F _vbench vbench
"""
ZSH = "autoload -Uz compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"


def script(shell: str) -> str:
    """What the shell sources: `source <(vbench --completion bash)`."""
    return SCRIPT if shell == "bash" else ZSH + SCRIPT


def candidates(line: str, commands: Sequence[str]) -> list[str]:
    """What the last word of the line may become; `commands` are the first words that vbench knows."""
    words = line.split() + ([""] if line[-1:].isspace() else [])
    if len(words) < 2:
        return []
    _, *before, word = words
    command = before[0] if before and before[0] in commands else ""
    if command not in ("", "fetch", "fit"):
        return []  # files: the shell's own completion finds them
    if before and before[-1] in ("--help", "-h"):
        return _starting(word, groups())
    if before and before[-1] == "--completion":
        return _starting(word, SHELLS)
    first = [f"{each} " for each in commands] if not before else []
    return _starting(word, [*first, *_words(word)] if not word.startswith("-") else FLAGS)


def _words(word: str) -> list[str]:
    """Groups, keys and their next parts; behind an "=", the values, also as the next of a list of values."""
    bare = word.lstrip("+~")
    prefix = word[: len(word) - len(bare)]
    name, equals, value = bare.partition("=")
    if not equals:
        depth = bare.count(".") + 1
        parts = [key.name.split(".") for key in keys(RunConfig)]
        dotted = [".".join(part[:depth]) + ("=" if len(part) == depth else ".") for part in parts if len(part) >= depth]
        chosen = [f"{group}=" if prefix or group in defaults() else f"+{group}=" for group in groups()]
        return [f"{prefix}{each}" for each in dict.fromkeys([*chosen, *dotted])]
    listed, comma, _ = value.rpartition(",")
    values = {
        **{key.name: key.words for key in keys(RunConfig)},
        **{group: [*all_] for group, all_ in groups().items()},
    }
    return [f"{prefix}{name}={listed}{comma}{each}" for each in values.get(name, [])]


def _starting(word: str, words: Iterable[str]) -> list[str]:
    return [each for each in words if each.startswith((word, f"+{word}"))]
