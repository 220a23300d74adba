"""Which tests run when, by what a test's module uses; and what a skip means where everything is installed."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Helpers of tests/ that start what takes seconds: servers, jobs of the command line, a SLURM cluster, a browser.
STARTERS = re.compile(
    r"^(?:from|import) (?:tests\.)?"
    r"(browser|cluster|doors|fake_hub|fake_vllm|mlflow_server|odd_server|servers|test_session)\b"
    r"|\bvllm_facts\b",  # a script that imports vLLM
    re.MULTILINE,
)

LONGEST_FIRST = (
    "pytest.mark.vllm",
    "import cluster",
    "crash_walk.py",
    "mlflow_server",
    "from doors import",
    "test_session import",
)

# The suite starts hundreds of processes: none should compile what another has compiled, whatever the shell asks for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# As in a shell: xdist's processes have a width of 80, and what a command prints into a pipe is as wide as that.
os.environ.pop("COLUMNS", None)

# The suite itself keeps all cores busy: vbench must not see it. A folder without the file that it would read.
os.environ["HOST_PROC"] = str(Path(__file__).parent / "fakes")

# No test is timed: a busy machine must not fail one.
settings.register_profile("vbench", deadline=None)
settings.load_profile("vbench")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make quick` and the end of `make test` import no module of which they run no test."""
    if not collection_path.match("test_*.py"):
        return None
    if config.option.markexpr == "alone":
        return True if "mark.alone" not in source(collection_path) else None
    return True if config.option.markexpr == "not slow" and starts_something(collection_path) else None


def pytest_collection(session: pytest.Session) -> None:
    """Imports pandas as `vbench analyze` does, whichever module asks for it first.

    Collecting makes no garbage to look for. What it has made stays, so that nobody looks through it later either.
    """
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        return  # the process that shares out the tests runs none
    importlib.import_module("vbench.analysis")
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(50_000)  # by default Python looks for cycles each 700 objects: a tenth of the quick tests' time
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `slow` what starts something or imports transformers: `make quick` leaves it out."""
    starting = {path for path in by_path(items) if starts_something(path)}
    for item in items:
        if item.path in starting or "transformers" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
    slow = by_path([item for item in items if item.get_closest_marker("slow")])
    rank = {path: rank_by_duration(path) if path in slow else len(LONGEST_FIRST) + 1 for path in by_path(items)}
    items.sort(key=lambda item: rank[item.path])  # stable: tests of a module stay together and in order


def by_path(items: list[pytest.Item]) -> set[Path]:
    return {item.path for item in items}


def rank_by_duration(module: Path) -> int:
    """Modules of long tests come first, so that no process is left with one of them at the end."""
    found = (rank for rank, word in enumerate(LONGEST_FIRST) if word in source(module))
    return next(found, len(LONGEST_FIRST))


def starts_something(module: Path) -> bool:
    return STARTERS.search(source(module)) is not None


@cache
def source(module: Path) -> str:
    return module.read_text()


@pytest.fixture(autouse=True, scope="module")
def _environment_of_its_own() -> Iterator[None]:
    """Which modules a process runs, and in which order, is chance: none sees a variable that another has set."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def filed_once(tmp_path_factory: pytest.TempPathFactory):
    """Fills stores with records, of which it files each list once (`filed.FiledOnce`)."""
    from filed import FiledOnce  # imports pandas, which the process that shares out the tests needs not

    return FiledOnce(tmp_path_factory.mktemp("filed"))


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The library, kept from asking the hub; its import takes half a minute on a busy machine."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """With CI=true every program is there, so a test that is skipped has failed to look at something."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, though CI=true: {report.longrepr[2]}"
    return report
