"""`vbench --help`: the commands, the groups with their choices, and a line for each key of the schema."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Sequence
from enum import Enum
from typing import Any

from omegaconf import OmegaConf

from vbench.compose.choices import CONF, defaults, groups
from vbench.compose.unknown import nearest
from vbench.schema import MISSING, Key, RunConfig, keys
from vbench.schema.errors import Refused

FACTS = ("model.", "hardware.gpu.")  # known of each model and GPU, seldom set by hand: listed last
WIDEST = 140  # characters a line, however wide the terminal
KINDS = {int: "whole number", float: "number", str: "text", list: "[list]", dict: "{dict}"}
SUMMARY = """\
vbench benchmarks LLM serving: it starts vLLM for every model, GPU and split you name, sends load, and compares
throughput and latency."""
COMMANDS = (
    ("[GROUP=CHOICE ...] [KEY=VALUE ...]", "measure; several values (a,b) make a grid; -m may be given"),
    ("plan ...", "what the same words would run, take, cost and show; starts nothing"),
    ("size model=... rate=N 'slo={...}' 'prices={...}'", "systems that bear a load within an SLO, the cheapest first"),
    (
        "tune 'tune={KEY: [...]}' 'slo={...}' ...",
        "measures which engine options serve most within an SLO",
    ),
    ("fit ...", "whether a model fits on GPUs, term by term, and the tokens of KV cache that remain; starts nothing"),
    ("fetch ...", "download the weights that the same words need, before a GPU is held"),
    ("analyze [KEY=VALUE ...]", "tables and figures of what was measured"),
    ("archive FOLDER", "the records of a campaign in one file, which ingest reads"),
    ("ingest PATH ...", "file records, and results of vLLM's own benchmark, in MLflow"),
    ("new model|gpu ...", "write the file of conf/ for a model or GPU of yours"),
    ("session PATH/session.json", "carry out one planned session"),
    ("--help [GROUP]", "this page, or the choices and keys of one group"),
    ("--cfg job [WORDS ...]", "the composed config; starts nothing"),
    ("--version", "versions of vbench, the engine and Hydra"),
    ("--completion bash|zsh", "prints completion for that shell, for the command `vbench`"),
)
EXAMPLES = (
    ("model=tiny", "one point, on what this host has"),
    ("workload.num_prompts=4,8,16", "three points on one server"),
    ("model=llama70b hardware=2xh100,4xh100 workload.num_prompts=10,80,320", ""),
    ("model=llama8b hardware=1xh100 workload=slo_search", "the highest load that meets an SLO"),
    ("hydra/launcher=plan +campaign=published", "what a campaign would take; needs no GPU"),
    ("+campaign=published hydra/launcher=slurm", "a grid kept in conf/campaign/, as batch jobs"),
)
GROUP_EXAMPLES = {
    "campaign": ("+campaign=published",),
    "engine": (
        "engine.max_model_len=auto engine.max_num_seqs=64,256",
        "engine=openai engine.base_url=http://host:8000",
    ),
    "hardware": ("hardware=1xh100,2xh100", "hardware=1xh100 hardware.gpus=3"),
    "hydra/launcher": ("hydra/launcher=slurm hardware=1xh100",),
    "launcher": ("launcher.max_parallel=2",),
    "model": ("model=llama8b,llama70b",),
    "parallelism": ("hardware=4xh100 parallelism=tp,tp2dp",),
    "workload": ("workload=random workload.input_len=[100,2000]", "workload.request_rate=4,8 workload.num_prompts=500"),
}
OTHER_MODELS = (
    ("hf:OWNER/NAME[@REVISION]", "any other model, by its config.json on the hub"),
    ("path:FOLDER", "one in a folder of this host"),
)
CLOSING = """\
The same command continues a campaign that was stopped, killed or detached (launcher.detach=true); rerun=failed,
rerun=invalid or rerun=all measures again."""


def short_page(command: str) -> str:
    """The commands and examples, for a call that says nothing; `command` is how vbench was called."""
    names = [f"{command} {words}" for words, _ in COMMANDS]
    examples = [f"{command} {words}" for words, _ in EXAMPLES]
    return "\n".join(
        [
            SUMMARY,
            "",
            "Commands",
            *_columns(names, [meaning for _, meaning in COMMANDS]),
            "",
            "Examples",
            *_columns(examples, [meaning for _, meaning in EXAMPLES]),
        ]
    )


def overview(command: str) -> str:
    """The page of `--help`."""
    chosen = {group: ", ".join(_mark_default(group)) for group in groups()}
    return "\n".join(
        [
            short_page(command),
            "",
            f"Groups and their choices ({command} --help GROUP describes them)",
            *_columns(list(chosen), list(chosen.values())),
            "",
            "Keys (a choice may set its own value in place of the default)",
            *_key_lines(sorted(keys(RunConfig), key=lambda key: key.name.startswith(FACTS))),
            "",
            CLOSING,
        ]
    )


def group_page(group: str) -> str:
    """The page of one group: its choices and its keys. Raises Refused if there is no such group."""
    found = groups()
    own = [key for key in keys(RunConfig) if key.name.split(".")[0] == group]
    if group not in found and not own:
        parts = {key.name.split(".")[0] for key in keys(RunConfig)}
        raise Refused(f"--help {group}: no such group; {nearest(group, sorted({*found, *parts}))}")
    lines: list[str] = []
    if group in found:
        lines += [f"Choices ({_prefix(group)}{group}=CHOICE)"]
        described = [" ".join(filter(None, (text, _settings(group, name)))) for name, text in found[group].items()]
        lines += _columns(*_fold_sizes(_mark_default(group), described))
    lines += [f"  {word}: {meaning}" for word, meaning in OTHER_MODELS] if group == "model" else []
    if own:
        lines += [*([""] if lines else []), "Keys", *_key_lines(own)]
    if group in GROUP_EXAMPLES:
        lines += ["", "Examples", *(f"  vbench {words}" for words in GROUP_EXAMPLES[group])]
    return "\n".join(lines)


def _fold_sizes(names: Sequence[str], described: Sequence[str]) -> tuple[list[str], list[str]]:
    """The choices and what they mean; neighbours that mean the same, as the sizes of a GPU, in one line."""
    rows: dict[str, tuple[list[str], str]] = {}
    for name, text in zip(names, described, strict=True):
        rows.setdefault(text or name, ([], text))[0].append(name)
    return [", ".join(alike) for alike, _ in rows.values()], [text for _, text in rows.values()]


def _mark_default(group: str) -> list[str]:
    """The group's choices, the default one marked."""
    default = defaults().get(group)
    return [f"{name} (default)" if name == default else name for name in groups()[group]]


def _prefix(group: str) -> str:
    """`+` for a group that has no default choice: it is added."""
    return "" if group in defaults() else "+"


def _settings(group: str, choice: str) -> str:
    """What a choice of a part of the config sets, if that is little enough to read in a line."""
    path = CONF / group / f"{choice}.yaml"
    if group not in ("parallelism", "workload") or not path.exists():
        return ""
    facts: Any = OmegaConf.to_container(OmegaConf.load(path)) or {}
    return f"({', '.join(f'{key}={_text(value)}' for key, value in facts.items())})"


def _key_lines(found: Sequence[Key]) -> list[str]:
    return _columns([key.name for key in found], [describe_key(key) for key in found])


def describe_key(key: Key) -> str:
    """Meaning, unit, allowed values and default of a key, in a line."""
    unit = f" [{key.unit}]" if key.unit else ""
    default = "set by the choice" if key.default == MISSING else f"default {_text(key.default)}"
    return f"{key.meaning}{unit}; {'; '.join(filter(None, (describe_values(key), key.allowed, default)))}"


def describe_values(key: Key) -> str:
    """Which values the key's type takes."""
    # In the order of KINDS: typing gives the parts of a union in the order in which the program first met it.
    kinds = [text for kind, text in KINDS.items() if kind in key.kinds and not (kind is str and key.choices)]
    words = [*kinds, *(word for word in key.words if word != "null" or "null" not in key.allowed)]
    return ", ".join(words) if len(words) > 2 else " or ".join(words)


def _text(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, (bool, type(None))):
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(each)}' for key, each in value.items())}}}"
    return f"[{','.join(map(_text, value))}]" if isinstance(value, list) else str(value)


def _columns(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """Two columns; the right one is wrapped."""
    width = min(WIDEST, max(80, shutil.get_terminal_size().columns))
    indent = min(max(map(len, left)) + 4, 44)
    lines: list[str] = []
    for name, text in zip(left, right, strict=True):
        head = f"  {name}"
        if text and len(head) > indent - 2:
            lines.append(head)
            head = ""
        wrapped = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [(head.ljust(indent) + wrapped[0]).rstrip(), *(" " * indent + line for line in wrapped[1:])]
    return lines
