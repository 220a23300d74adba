"""A server whose Python can keep no bytecode keeps it in vbench's folder for caches, and finds it there again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import served, session

from vbench.engine import bytecode
from vbench.engine.bytecode import choose_folder
from vbench.schema import Engine

COMMAND = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
NEVER = {"PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The sources of packages that the server's Python finds first; none has bytecode. Returns the folder of vllm's."""
    for name in ("vllm", "torch", "transformers"):
        folder = tmp_path / "site" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("found = __cached__\n")
    folder = folder.parent / "vllm"
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    for name in bytecode.DECIDES:
        monkeypatch.delenv(name, raising=False)
    bytecode._lacks_bytecode.cache_clear()
    yield folder
    bytecode._lacks_bytecode.cache_clear()


def import_it(variables):
    """Imports the package as a server does; returns where Python looks for its bytecode."""
    code = "import vllm; print(vllm.found)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def chosen(caches, command=COMMAND, **engine):
    return choose_folder(Engine(**{"command": command, **engine}), os.environ, caches)


def test_bytecode_that_python_may_not_keep_is_kept_for_the_next_process(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert not import_it({}).exists()
    variables = chosen(tmp_path / "caches")
    kept = import_it(variables)
    assert kept.is_file()
    assert kept.is_relative_to(tmp_path / "caches" / "bytecode")
    before = kept.stat().st_mtime_ns
    assert import_it(variables) == kept
    assert kept.stat().st_mtime_ns == before  # read, not made again
    (package / "__init__.py").write_text("found = 'changed'\n")
    assert import_it(variables) == Path("changed")


def test_only_its_owner_may_look_into_the_folder(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert chosen(tmp_path / "caches") == {
        "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "caches" / "bytecode"),
    }  # fmt: skip
    assert (tmp_path / "caches" / "bytecode").stat().st_mode & 0o077 == 0


def test_a_python_that_keeps_its_bytecode_beside_the_sources_is_left_to_it(package, tmp_path):
    assert chosen(tmp_path / "caches") == {}
    assert not (tmp_path / "caches").exists()


def test_bytecode_that_came_with_the_sources_is_used(package, tmp_path, monkeypatch):
    assert import_it({}).is_relative_to(package)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert chosen(tmp_path / "caches") == {}


def test_where_only_some_packages_lack_bytecode_that_of_the_others_is_used(package, tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert not import_it({}).exists()
    assert chosen(tmp_path / "caches") == {}


def test_files_that_all_have_one_time_do_not_show_that_they_changed(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    time = int(Path(os.__file__).stat().st_mtime)
    for sources in package.parent.glob("*/__init__.py"):
        os.utime(sources, (time, time))
    assert chosen(tmp_path / "caches") == {}


@pytest.mark.parametrize(
    "engine",
    [
        {"env": {"PYTHONDONTWRITEBYTECODE": "1"}},
        {"env": {"PYTHONPYCACHEPREFIX": "/mine"}},
        {"command": ["apptainer", "exec", "vllm.sif", *COMMAND]},
        {"command": [sys.executable, "server.py"]},
        {"command": [sys.executable, "-m", "no_such_package"]},
    ],
)
def test_what_the_user_chose_and_what_cannot_be_asked_stays(package, tmp_path, monkeypatch, engine):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert chosen(tmp_path / "caches", **engine) == {}
    assert chosen(tmp_path / "caches") != {}


def test_a_folder_that_the_user_chose_stays(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "mine"))
    assert chosen(tmp_path / "caches") == {}


def test_without_a_place_for_caches_the_server_starts_all_the_same(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "caches").write_text("a file")
    assert chosen(tmp_path / "caches") == {}


def test_a_server_is_started_with_these_variables(tmp_path, monkeypatch):
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(bytecode, "choose_folder", lambda *_: kept)
    served(session(), tmp_path)
    assert [*(tmp_path / "bytecode").rglob("*.pyc")]
