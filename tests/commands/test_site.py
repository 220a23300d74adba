"""The pages of docs/: every command that they print can be composed, what is generated is current, the site builds."""

import importlib.util
import logging
import re
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
