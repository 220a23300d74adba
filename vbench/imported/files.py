"""The text of a result file to results, and its path to facts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from vbench.imported.conditions import NAMES
from vbench.schema.errors import Refused

Result = Mapping[str, Any]

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

PATTERN = (  # the default
    r"(prompt_(?P<num_prompts>\d+)/)?((?P<gpus>\d+)x(?P<gpu>[^/]+)/)?"
    r"(?P<model>[^/]+)_tp(?P<tensor_parallel_size>\d+)_len(?P<max_model_len>\d+)\.jsonl?$"
)


class NotAResult(Exception):
    """A file or an entry of it that is no result of vLLM's benchmark; the message says why."""


def parse_results(text: str, *, is_yaml: bool = False) -> list[Result]:
    """The results in a file's text: an object, a list of them, or an object a line of JSON. Raises NotAResult."""
    try:
        whole = yaml.safe_load(text) if is_yaml else json.loads(text)
    except yaml.YAMLError as error:
        raise NotAResult(f"no YAML: {' '.join(str(error).split())}") from error
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise NotAResult(f"no JSON: {error}") from error
        whole = _parse_lines(text)
    except RecursionError as error:
        raise NotAResult("JSON, but nested too deeply") from error
    if SURROGATE.search(text) and not _is_unicode(whole):
        raise NotAResult("its text is not valid Unicode: it holds half of a surrogate pair")
    entries = whole if isinstance(whole, list) else [whole]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise NotAResult("no result of vLLM's benchmark, nor of a tool in --help")
    return entries


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The user's pattern for paths. Raises Refused if it is no regular expression or has an unknown group."""
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise Refused(f"pattern={pattern}: not a regular expression: {error}") from error
    if unknown := set(found.groupindex) - NAMES:
        raise Refused(f"pattern: (?P<{min(unknown)}>…) is unknown; groups may be {', '.join(sorted(NAMES))}")
    if not found.groupindex:
        raise Refused("pattern: it has no named group, such as (?P<num_prompts>[0-9]+), so it finds nothing")
    return found


def match_path(path: str, pattern: re.Pattern[str]) -> dict[str, str]:
    """What the pattern's named groups find in a path with forward slashes; empty if it does not match."""
    match = pattern.search(path)
    return {name: value for name, value in match.groupdict().items() if value is not None} if match else {}


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_lines(text: str) -> list[Any]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise NotAResult(f"line {number}: no JSON: {error}") from error
    return entries
