"""What the documents point to is there."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
HEAD = "| question | guess | seen | version | in vbench |"  # of the tables of docs/findings.md


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


def test_every_finding_says_what_was_guessed_and_seen_and_stands_in_the_list():
    listed = re.findall(r"^\| \[([^\]]+)\]", (ROOT / "findings" / "README.md").read_text(), re.MULTILINE)
    scripts = sorted((ROOT / "findings").glob("*.sh"))
    assert listed == [path.name for path in scripts]
    for path in scripts:
        head = path.read_text().partition("set -euo pipefail")[0]
        assert [word for word in ("Guess:", "Seen:", "Matters:") if word not in head] == [], path.name
        assert re.search(r"\d+\.\d+\.\d+", head.splitlines()[1]), f"{path.name}: its first line tells no version"
        assert re.search(r"Output[\s#]+of[\s#]+20\d\d-\d\d-\d\d", head), f"{path.name}: tells no output and its date"


def test_every_row_of_the_guesses_is_complete_and_in_a_table():
    lines = (ROOT / "docs" / "findings.md").read_text().splitlines()
    rows = [(before, line) for before, line in pairwise(lines) if line.startswith("|")]
    assert len(rows) > 50
    for before, line in rows:
        assert (
            before.startswith("|") or line == "| question | guess | seen | version | in vbench |"
        )  # not cut off by a gap
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert len(cells) == 5, line
        assert all(cells), line


def test_the_house_names_every_room():
    rooms = {path.parent.name for path in (ROOT / "vbench").glob("*/__init__.py")}
    picture = (ROOT / "docs" / "architecture.md").read_text().partition("```mermaid")[2].partition("```")[0]
    assert not [room for room in rooms if f'["{room}: ' not in picture]
