"""Where a server keeps its modules' bytecode, if its Python can keep none: else each process compiles all sources anew.

The front end, the engine and each worker import 6,000 modules, one process after another, while the GPU waits. On two
CPU cores vLLM's front end took 21.9 s of CPU time to import them from sources and 10.9 s from bytecode; where uv, or
pip with --no-compile, installed vLLM there is none, and a read-only image or PYTHONDONTWRITEBYTECODE lets none be kept.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from vbench.engine.command import resolve_program
from vbench.engine.identity import answer_to, build_question
from vbench.plan.program import find_wrapper_length
from vbench.schema import Engine

DECIDES = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
# A spec is found without importing its package. Each package that is there must lack its bytecode: from a folder of its
# own, Python reads none that lies beside the sources. Files that all have one time, as those of reproducible images, do
# not show that they have changed: Python compares times and sizes.
ASK_BYTECODE = """
import importlib.util, json, os, sys
package = (sys.argv[1:] or ["vllm"])[0]
found = [importlib.util.find_spec(name) for name in (package, "torch", "transformers")]
specs = [spec for spec in found if spec and spec.has_location]
exists = any(os.path.exists(spec.cached) for spec in specs)
kept = not sys.dont_write_bytecode and all(os.access(os.path.dirname(spec.origin), os.W_OK) for spec in specs)
times = {int(os.stat(path).st_mtime) for path in (os.__file__, *(spec.origin for spec in specs))}
print(json.dumps(found[0] is not None and not exists and not kept and len(times) > 1))
"""


def choose_folder(engine: Engine, surroundings: Mapping[str, str], caches: Path) -> dict[str, str]:
    """The variables by which a server keeps its bytecode below `caches`; none where it has some or can keep it.

    None either behind a wrapper, which may run it where this folder is not, or if the user has chosen a folder.
    """
    chosen = set(engine.env) & set(DECIDES) or surroundings.get("PYTHONPYCACHEPREFIX")
    if chosen or find_wrapper_length(engine.command) or not _lacks_bytecode(tuple(resolve_program(engine))):
        return {}
    folder = caches / "bytecode"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder.absolute())}


@cache
def _lacks_bytecode(command: tuple[str, ...]) -> bool:
    """Whether the Python of this command finds no bytecode of the server's and torch's sources, and would keep none."""
    question = build_question(command, ASK_BYTECODE)
    if question is None or "-c" not in question:
        return False
    try:
        return json.loads(answer_to(question).splitlines()[-1]) is True
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return False
