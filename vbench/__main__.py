"""The command `vbench`, also as `python -m vbench`: `vbench [-m] [choice=…] [key=value]` measures.

The first word may name another command instead, each of which is a module of its own, imported only then.
"""

from __future__ import annotations

import importlib.metadata
import sys
from importlib import import_module
from pathlib import Path

from vbench.watch.pipes import end_quietly

COMMANDS = {
    "analyze": "vbench.analysis.__main__",
    "plan": "vbench.campaign.planning.entry",
    "size": "vbench.campaign.planning.size",
    "tune": "vbench.campaign.tuning.command",
    "archive": "vbench.campaign.archiving",
    "ingest": "vbench.ingest",
    "fetch": "vbench.fetch",
    "fit": "vbench.campaign.fitting.command",
    "new": "vbench.compose.new",
    "session": "vbench.session.__main__",
}


def main() -> int:
    """Does what the command line says; the exit code is 2 if it was refused, else that of the command."""
    return end_quietly(lambda: _run(sys.argv[1:]))


def _run(words: list[str]) -> int:
    if not set(words) - {"-m", "--multirun"}:
        return _refuse_nothing_asked()
    first, *rest = words
    if first in COMMANDS:
        return _run_command(first, rest)
    if first in FLAGS:
        return FLAGS[first](rest)
    if {"-h", "--help"} & set(words):
        return _help([word for word in words if not word.startswith("-")])
    if first and "=" not in first and first[0] not in "-~+":
        return _unknown(first, rest)

    from vbench.campaign import launcher

    launcher.register()
    return launcher.run(words)


def _version(_: list[str]) -> int:
    """Prints vbench, the default engine and Hydra, each with its version."""
    import vbench
    from vbench.engine.identity import ask_engine_version
    from vbench.schema import Engine

    engine = ask_engine_version(Engine())
    _say(f"vbench {vbench.__version__}")
    _say("vllm not installed" if engine == "unknown" else engine)
    return _say(f"hydra-core {importlib.metadata.version('hydra-core')}")


def _run_command(command: str, words: list[str]) -> int:
    door = import_module(COMMANDS[command])
    if {"-h", "--help"} & set(words):
        module = COMMANDS[command].removesuffix(".__main__")
        return _say(door.HELP.replace(f"python -m {module}", f"{_invocation()} {command}").rstrip("\n"))
    code: int = door.main(words)
    return code


def _complete(words: list[str]) -> int:
    from vbench.compose import completion

    return _say("\n".join(completion.candidates("".join(words), list(COMMANDS))))


def _completion(words: list[str]) -> int:
    from vbench.compose import completion

    if len(words) != 1 or words[0] not in completion.SHELLS:
        return _refuse(f"--completion: name the shell, {' or '.join(completion.SHELLS)}")
    return _say(completion.script(words[0]).rstrip("\n"))


def _help(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        return _run_command(words[0], ["--help"])
    from vbench.compose import help as pages

    groups = [word.lstrip("+").split("=")[0].split(".")[0] for word in words]
    return _say("\n\n".join(map(pages.group_page, groups)) if groups else pages.overview(_invocation()))


def _refuse_nothing_asked() -> int:
    """Refuses a call without words: to start an engine would surprise a person who only looks what there is."""
    from vbench.compose import help as pages

    print(pages.short_page(_invocation()), file=sys.stderr)  # noqa: T201
    return _refuse(f"nothing was asked, so nothing was started; {_invocation()} --help lists every choice and key")


def _unknown(word: str, rest: list[str]) -> int:
    from vbench.compose import choices, nearest
    from vbench.schema import RunConfig, keys

    groups = choices.groups()
    value = next((each.lstrip("=") for each in rest if each.strip("=")), "")
    if word in groups:
        choice = value if value in groups[word] else choices.defaults().get(word, next(iter(groups[word])))
        added = "" if word in choices.defaults() else "+"
        return _refuse(f"{word}: a choice is missing, as {added}{word}={choice}; see --help {word}")
    if word in {key.name for key in keys(RunConfig)}:
        return _refuse(f"{word}: its value follows a =, without spaces, as {word}={value or 'VALUE'}")
    if word == "help":
        return _refuse(f"{word}: no such command; did you mean --help?")
    near = nearest(word, list(COMMANDS))
    return _refuse(f"{word}: no such command; {near}, or a key with its value, as workload.seed=1; see --help")


def _invocation() -> str:
    return "vbench" if Path(sys.argv[0]).name == "vbench" else "python -m vbench"


def _say(text: str) -> int:
    print(text)  # noqa: T201
    return 0


def _refuse(why: str) -> int:
    from vbench.schema.secrets import redact

    print(f"vbench: {redact(why)}", file=sys.stderr)  # noqa: T201
    return 2


FLAGS = {
    "--version": _version,
    "--completion": _completion,
    "--complete": _complete,  # what the script of --completion asks, with the line up to the cursor
}

if __name__ == "__main__":
    sys.exit(main())
