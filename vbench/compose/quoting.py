"""Values in braces that the shell split at their spaces. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from vbench.schema.errors import Refused
from vbench.schema.secrets import redact


def check_quoting(words: Sequence[str]) -> None:
    """Raises Refused if a word opens a brace that a later word closes: its value was not quoted in the shell."""
    for place, word in enumerate(words):
        if "=" not in word or _count_open(word) <= 0:
            continue
        for end in range(place + 2, len(words) + 1):
            whole = " ".join(words[place:end])
            if _count_open(whole) == 0:
                key, quoted = word.partition("=")[0], redact(shlex.quote(whole))
                raise Refused(f"{key}: the shell splits an unquoted value at its spaces; quote it: {quoted}")


def _count_open(text: str) -> int:
    return text.count("{") - text.count("}")
