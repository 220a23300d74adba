"""Whatever a name, a path or another program's last words hold, the screen shows it as it is."""

from pathlib import Path

import pytest
from records import record
from rich.console import Console

from vbench.schema.record import Failure
from vbench.watch.markup import fill_markup
from vbench.watch.outcome import summary

ODD = ["[rank0]: CUDA error", "[/red] closes nothing", "a [bold]name[/]", "[link=x]", "{braces}"]


@pytest.mark.parametrize("text", ODD)
def test_text_with_brackets_is_shown_as_it_is(text, capsys):
    Console(width=200, highlight=False).print(fill_markup("[bold]{}[/]: {}", Path("s"), text))
    assert capsys.readouterr().out.rstrip("\n") == f"s: {text}"


@pytest.mark.parametrize("text", ODD)
def test_the_summary_shows_a_failures_line_as_it_is(text, capsys):
    failed = record(failure=Failure("client_failed", text))
    Console(width=300, highlight=False).print(*summary([failed]), sep="\n", soft_wrap=True)
    assert f": {text}" in capsys.readouterr().out
