"""The scripts of benchmarks/ use what vbench has: nothing else runs them when a module moves."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def taken_from_vbench(script):
    """Each name that a script takes from vbench, and the module that it takes it from."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "vbench":
            yield from ((node.module, each.name) for each in node.names)


def exists(module, name):
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_imports_only_what_vbench_has(script):
    assert [f"{module}.{name}" for module, name in taken_from_vbench(script) if not exists(module, name)] == []


def test_most_benchmarks_are_seen_to_import_something():
    assert sum(bool([*taken_from_vbench(script)]) for script in SCRIPTS) > len(SCRIPTS) // 2
