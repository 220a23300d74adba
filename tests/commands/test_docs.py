"""What the documents point to is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def list_links(document):
    """The files that a page links to, without anchors."""
    return [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()) if "://" not in link]


def test_there_are_links_to_follow():
    assert sum(len(list_links(document)) for document in DOCUMENTS) > 100


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    links = list_links(document)
    assert not [link for link in links if not (document.parent / link).exists()]


def test_each_message_that_the_page_on_clusters_explains_is_one_of_the_codes():
    said = set()
    for path in (ROOT / "vbench").rglob("*.py"):
        said |= {each.value for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Constant)}
    page = (ROOT / "docs" / "slurm.md").read_text().partition("## Messages")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(messages) > 10
    assert not [each for each in messages if not any(each in text for text in said if isinstance(text, str))]


def test_the_house_names_every_room():
    rooms = {path.parent.name for path in (ROOT / "vbench").glob("*/__init__.py")}
    picture = (ROOT / "docs" / "architecture.md").read_text().partition("```mermaid")[2].partition("```")[0]
    assert not [room for room in rooms if f'["{room}: ' not in picture]
