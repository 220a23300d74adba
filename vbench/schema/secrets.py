"""What looks like a secret, and how text is written without it. The only place that decides either.

A secret is recognised by the name in front of it (HF_TOKEN=…, --api-key …, Authorization: …), by a known prefix (hf_…,
sk-…, AKIA…), as the user part of a URL, by its place in a command (secretforms.py), or because it is the value of an
environment variable with such a name.
It does not know who writes or prints: configs, records, logs, exceptions and the terminal all come here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

from vbench.schema.secretforms import HINTS, VALUE, mask_commands

MASK = "***"
SECRET_WORDS = {
    "APIKEY", "AUTHORIZATION", "COOKIE", "CREDENTIAL", "CREDENTIALS", "PASSPHRASE", "PASSWD", "PASSWORD", "PW",
    "SECRET", "SECRETS", "TOKEN",
}  # fmt: skip
KEY_KINDS = {"ACCESS", "API", "AUTH", "CLIENT", "ENCRYPTION", "LICENSE", "MASTER", "PRIVATE", "SECRET", "SIGNING", "X"}
NAMES_OF_TOKENS = {  # BOS_TOKEN is a word of a vocabulary, MAX_TOKEN a number
    "BOS", "CLS", "EOS", "IMAGE", "MASK", "MAX", "MIN", "NEXT", "PAD", "PER", "SEP", "SPECIAL", "STOP", "UNK",
}  # fmt: skip
ABOUT = {
    "BUDGET",
    "BUDGETS",
    "COUNT",
    "DIR",
    "ENV",
    "FILE",
    "ID",
    "IDS",
    "LEN",
    "LENGTH",
    "LIMIT",
    "NAME",
    "PATH",
    "SIZE",
    "TYPE",
}
SHORTEST_VALUE = 8  # characters of a variable's value that is masked wherever it appears
_declared: set[str] = set()

# One upper-case letter or digit tells a key from words that begin alike, as vLLM's hf_overrides.
_KEYLIKE = r"(?=[a-z_-]{0,40}[A-Z0-9])[\w-]"
PREFIXED = re.compile(
    rf"(?<![A-Za-z0-9])(?:hf_{_KEYLIKE}{{6,}}|(?:sk|pk|rk)-{_KEYLIKE}{{6,}}|gh[pousr]_{_KEYLIKE}{{6,}}|"
    rf"github_pat_{_KEYLIKE}{{6,}}|glpat-{_KEYLIKE}{{6,}}|xox[abeoprs]-{_KEYLIKE}{{6,}}|nvapi-{_KEYLIKE}{{6,}}|"
    rf"(?:AKIA|ASIA)[A-Z0-9]{{12,}}|AIza{_KEYLIKE}{{20,}}|eyJ[\w-]{{8,}}\.[\w-]{{8,}}\.[\w-]*)"
)
SCHEME = re.compile(r"(?P<kept>\b(?:bearer|basic)[\s,]{1,4}['\"]?)(?P<value>[^\s'\",;\]}]{6,})", re.IGNORECASE)
AUTHORIZATION = re.compile(  # of any scheme: Authorization: Token …
    r"(?P<kept>\bauthorization['\"]?\s{0,4}[=:](?:\\?\s){0,4}['\"]?[A-Za-z][\w-]{0,20}(?:\\?\s){1,4})"
    r"(?P<value>[^\s'\",;\]}]+)",
    re.IGNORECASE,
)
USER_OF_URL = re.compile(r"(?P<kept>\w://)(?P<value>[^/\s'\"]+)@")  # up to the last @: a password may hold one
COOKIE = re.compile(r"(?P<kept>\bcookie['\"]?\s{0,4}:\s{0,4}['\"]?)(?P<value>[^'\"\n]+)", re.IGNORECASE)
_WORD = r"(?:token|key|secret|pass|pw|credential|auth|cookie)"
NAMED = re.compile(  # HF_TOKEN=…, 'api_key': ['…'], Authorization: …
    rf"(?<![\w.-])(?P<name>(?:--?)?(?=[\w.-]*{_WORD})[A-Za-z_][\w.-]*)"
    rf"(?P<between>['\"]?\s{{0,4}}(?:=>|[=:]|<<<)\s{{0,4}}[\[(]?\s{{0,4}}['\"]?){VALUE}",
    re.IGNORECASE,
)
ARGUMENT = re.compile(  # --api-key …, ['--api-key', '…']
    rf"(?<![\w-])(?P<name>--?(?=[\w-]*{_WORD})[A-Za-z][\w-]*)"
    rf"(?P<between>['\"]?(?:\s{{0,4}},|\s)\s{{0,4}}['\"]?)(?!-){VALUE}",
    re.IGNORECASE,
)
SETTING = re.compile(  # setenv HF_TOKEN …, set -x HF_TOKEN …, aws configure set aws_session_token …
    r"\b(?:setenv|set\s{1,4}-\w{1,4}|config(?:ure)?\s{1,4}set)\s{1,4}(?P<name>[A-Za-z_][\w.-]*)"
    rf"(?P<between>\s{{1,4}}['\"]?){VALUE}",
    re.IGNORECASE,
)
REFERENCE = re.compile(r"\s{1,4}[$`]")
QUERY = re.compile(rf"(?P<kept>[?&](?:[\w.-]*{_WORD}|sig|code)=)(?P<value>[^\s'\"&#]+)", re.IGNORECASE)
HINT = re.compile(  # no text without one of these has a secret: most lines of a log are done with this one search
    rf"{HINTS}|token|key|secret|pass|pw|credential|auth|cookie|bearer|basic|sig|code|://|hf_|[spr]k-|gh[pousr]_|github_|glpat-|xox|nvapi-|"
    r"AKIA|ASIA|AIza|eyJ",
    re.IGNORECASE,
)
PLAIN = re.compile(r"\W*|[-+.\d]+|true|false|none|null|auto|[<|].*", re.IGNORECASE)  # no secret, whatever its name


def is_secret_name(name: str) -> bool:
    """Whether a variable, an argument or a header of this name holds a secret: HF_TOKEN, --api-key, X-Api-Key."""
    words = [word.upper() for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", name) if word]
    if not words or (words[-1] in ABOUT and words[-3:] != ["ACCESS", "KEY", "ID"]):
        return False
    for before, word in pairwise(["", *words]):
        if word in SECRET_WORDS and not (word == "TOKEN" and before in NAMES_OF_TOKENS):
            return True
        if word in {"KEY", "KEYS"} and before in KEY_KINDS:
            return True
    last = words[-1]
    if last in {"AUTH", "PASS"} or last.endswith(("PASSWORD", "PASSWD")) or (last == "PWD" and len(words) > 1):
        return True
    if name != name.upper() or last == "BYPASS":
        return False
    return last == "KEY" or last.endswith(("SECRET", "APIKEY", "PASS")) or _is_token(last)


def _is_token(word: str) -> bool:
    """Of an upper-case name without separators: HFTOKEN, but not EOSTOKEN."""
    return word.endswith("TOKEN") and word.removesuffix("TOKEN") not in {"", *NAMES_OF_TOKENS}


def declare(value: str) -> str:
    """From now on masks this value wherever this process writes it; returns the value."""
    _declared.update(_long_lines(value))
    return value


def list_values(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The secrets in the environment, by the names of their variables, and the declared ones; longest first."""
    found = _secret_values(tuple(environment.items()))
    return tuple(sorted({*found, *_declared}, key=len, reverse=True))


def redact(text: str, values: tuple[str, ...] | None = None) -> str:
    """The text with every secret masked. `values` saves asking for `list_values()` again, for many texts."""
    for value in list_values() if values is None else values:
        text = text.replace(value, MASK)
    if not HINT.search(text):
        return text
    text = PREFIXED.sub(MASK, text)
    text = USER_OF_URL.sub(rf"\g<kept>{MASK}@", text)
    text = QUERY.sub(rf"\g<kept>{MASK}", text)
    text = SCHEME.sub(_mask_scheme, AUTHORIZATION.sub(_mask_scheme, text))
    text = mask_commands(COOKIE.sub(_mask_scheme, text), MASK, is_plain)
    return _mask_named(SETTING, _mask_named(ARGUMENT, _mask_named(NAMED, text)))


def redact_plain(value: Any, values: tuple[str, ...] | None = None) -> Any:
    """Plain data, as JSON holds it, with the secrets in its texts masked; under a secret name, every text is one."""
    return _redact_plain(value, list_values() if values is None else values)


def _redact_plain(value: Any, values: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return redact(value, values)
    if isinstance(value, Mapping):
        return {key: _redact_entry(str(key), item, values) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return _redact_words(value, values)
    return value


def _redact_entry(name: str, item: Any, values: tuple[str, ...]) -> Any:
    if isinstance(item, str) and not is_plain(item) and is_secret_name(name):
        return MASK
    return _redact_plain(item, values)


def _redact_words(words: list[Any] | tuple[Any, ...], values: tuple[str, ...]) -> list[Any]:
    """A list, with the word after an argument like --api-key masked."""
    found: list[Any] = []
    for before, word in pairwise([None, *words]):
        named = isinstance(before, str) and before.startswith("-") and "=" not in before and is_secret_name(before)
        secret = named and isinstance(word, str) and not word.startswith("-") and not is_plain(word)
        found.append(MASK if secret else _redact_plain(word, values))
    return found


def is_plain(value: str) -> bool:
    """Whether a value cannot be a secret: empty, a number, true, auto, a token like <s>, or a reference like $NAME."""
    return not value or value == MASK or value.startswith(("$", "`")) or PLAIN.fullmatch(value) is not None


@lru_cache(maxsize=4)
def _secret_values(variables: tuple[tuple[str, str], ...]) -> set[str]:
    """The values of the variables with a secret name; an ordinary word is none."""
    found = {line for name, value in variables if is_secret_name(name) for line in _long_lines(value)}
    return {each for each in found if not is_plain(each) and not _is_word(each)}


def _long_lines(value: str) -> Iterator[str]:
    """What of a value is masked: each of its lines, as logs are written line by line. A private key has many."""
    return (line for line in map(str.strip, value.splitlines()) if len(line) >= SHORTEST_VALUE)


def _is_word(value: str) -> bool:
    return value.isalpha() and value.islower()


def _mask_scheme(found: re.Match[str]) -> str:
    return found[0] if _is_word(found["value"]) or is_plain(found["value"]) else f"{found['kept']}{MASK}"


def find_names(text: str) -> Iterator[re.Match[str]]:
    """Where a text gives a value to a secret name: matches with a `name` and a `value`."""
    for pattern in (NAMED, ARGUMENT, SETTING):
        yield from _find_named(pattern, text)


def _find_named(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    place = 0
    while found := pattern.search(text, place):
        value, between = found["value"], found["between"]
        prose = between.endswith(": ") and _is_word(value)  # "token: missing"
        scheme = REFERENCE.match(text, found.end("value"))  # Authorization: Bearer $TOKEN
        secret = is_secret_name(found["name"]) and not prose and not scheme and not is_plain(value)
        if secret:
            yield found
        place = found.end() if secret else found.end("name")  # the value may be a name: "auth: HF_TOKEN=…"


def _mask_named(pattern: re.Pattern[str], text: str) -> str:
    parts, place = [], 0
    for found in _find_named(pattern, text):
        parts += [text[place : found.start("value")], MASK]
        place = found.end("value")
    return "".join([*parts, text[place:]])
