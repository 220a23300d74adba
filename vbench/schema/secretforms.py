"""Secrets in a shell's commands that no name stands before: `curl -u me:…`, `docker login -p …`. Only patterns.

Each form says in which command an option holds a secret, because the same letter means another thing elsewhere:
`docker run -u 1000:1000` is no password.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A quoted value may hold anything but its quote; another ends at a space.
VALUE = r"(?P<value>(?<=')[^'\n]+(?=')|(?<=\")[^\"\n]+(?=\")|[^\s'\";|&,\])}]+)"
_NEXT = r"(?:['\"]?\s{0,4},\s{0,4}|=|\s{1,4})"  # between an option and its value, also in a list of words
_OPEN = rf"(?:{_NEXT}['\"]?)"
_USER = r"(?P<quote>['\"])?[^\s:,%@/'\"$]{1,64}"
_AFTER_USER = r"(?P<value>(?(quote)[^'\"\n]+|[^\s'\";|&,\])}]+))"
_CURL = r"(?:curl|https?(?=\s)|xh(?=\s)|wget|aria2c)"


def _form(command: str, secret: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(rf"\b{command}\b[^\n|;]*"), re.compile(secret)


FORMS = (
    _form(
        _CURL,
        rf"(?<![\w-])(?:-[A-Za-z]{{0,8}}[uUEa]{_NEXT}?|--(?:proxy-)?(?:user|cert|auth){_NEXT}){_USER}:{_AFTER_USER}",
    ),
    _form(_CURL, rf"(?<![\w-])(?:-b|--cookie){_OPEN}(?=[^\s'\"]*=){VALUE}"),
    _form(_CURL, r"(?<=[\s'\"])[^\s:@/'\"]{1,64}:(?P<value>[^\s@/'\"]+)@"),  # a URL without its scheme
    _form(r"lftp", rf"(?<![\w-])(?:-u|--user){_NEXT}{_USER},{_AFTER_USER}"),
    _form(r"(?:smbclient|rpcclient|net)", rf"(?<![\w-])(?:-U|--user){_NEXT}?{_USER}%{_AFTER_USER}"),
    _form(r"login", rf"(?<![\w-])-p{_OPEN}?{VALUE}"),  # docker, podman, apptainer remote, az, helm registry, oc
    _form(r"(?:wandb|clearml|comet)['\",\s]{1,4}login", rf"login{_OPEN}(?:--relogin{_OPEN})?(?!-){VALUE}"),
    _form(r"sshpass", rf"(?<![\w-])-p{_OPEN}?{VALUE}"),
    _form(r"(?:mysql\w*|mariadb[\w-]*)", rf"(?<![\w-])-p['\"]?{VALUE}"),
    _form(r"openssl", rf"(?<![\w-])-[kK]{_OPEN}{VALUE}"),
    (  # echo … | docker login --password-stdin
        re.compile(r"\b(?:echo|printf)\s[^\n|;&]{1,400}\|[^\n|;&]{0,200}?(?:-stdin|--with-token|\bsudo\s+-\w*S)"),
        re.compile(rf"(?<=\s)(?!-\w)['\"]?{VALUE}['\"]?(?=\s{{0,4}}\|)"),
    ),
    (
        re.compile(r"(?:-stdin|--with-token|\bsudo\s+-\w*S)[^\n|;&<]{0,200}<<<[^\n|;&]*"),
        re.compile(rf"<<<\s{{0,4}}['\"]?{VALUE}"),
    ),
)
# A line without one of these has no such command. Patterns are bounded, because lines of a log can be very long.
HINTS = (
    r"curl|wget|https?\s|xh\s|aria2c|lftp|smbclient|rpcclient|net\s|login|sshpass|mysql|mariadb|openssl|"
    r"-stdin|--with-token|sudo"
)
_HINT = re.compile(HINTS)


def mask_commands(text: str, mask: str, is_plain: Callable[[str], bool]) -> str:
    """The text with the secrets of all FORMS masked, but for plain values."""

    def mask_value(found: re.Match[str]) -> str:
        if is_plain(found["value"]):
            return found[0]
        start, end = (place - found.start() for place in found.span("value"))
        return f"{found[0][:start]}{mask}{found[0][end:]}"

    if not _HINT.search(text):
        return text
    for command, secret in FORMS:
        text = command.sub(lambda part, secret=secret: secret.sub(mask_value, part[0]), text)  # type: ignore[misc]
    return text
