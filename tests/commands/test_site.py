"""The pages of docs/: every command that they print can be composed, what is generated is current, the site builds."""

import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def load_generator():
    spec = importlib.util.spec_from_file_location("pages", DOCS / "site" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["keys.md", "verdicts.md"])
def test_a_generated_page_is_what_the_program_says_now(name):
    assert (DOCS / name).read_text() == load_generator().PAGES[name](), "run python docs/site/pages.py"


def test_the_site_builds_and_each_page_stands_in_its_contents(tmp_path, caplog):
    config = load_config(str(DOCS / "site" / "mkdocs.yml"), site_dir=str(tmp_path))
    with caplog.at_level(logging.WARNING):
        build(config)
    assert not [each.getMessage() for each in caplog.records if each.name.startswith("mkdocs")]
    assert (tmp_path / "first-hour" / "index.html").exists()
    contents = re.findall(r"[\w-]+\.md", (DOCS / "site" / "mkdocs.yml").read_text())
    assert sorted(contents) == sorted(path.name for path in DOCS.glob("*.md"))


def test_the_container_file_is_clean():
    """It is built in no test: that takes vLLM's image, of many gigabytes."""
    linter = Path(sysconfig.get_path("scripts")) / "hadolint"
    told = subprocess.run([linter, DOCS / "container" / "Containerfile"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


def test_the_container_file_copies_all_that_the_wheel_is_made_of(tmp_path):
    text = (DOCS / "container" / "Containerfile").read_text()
    for each in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        for name in each.split():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tmp_path / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    assert [*(tmp_path / "dist").glob("vbench-*.whl")]
