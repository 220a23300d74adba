"""What the documents point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()) if "://" not in link]
    assert links or document.parent.name != "docs"
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_house_names_every_room():
    rooms = {path.parent.name for path in (ROOT / "vbench").glob("*/__init__.py")}
    picture = (ROOT / "docs" / "architecture.md").read_text().partition("```mermaid")[2].partition("```")[0]
    assert not [room for room in rooms if f'["{room}: ' not in picture]
