"""Writes the pages that are made from the program: docs/keys.md and docs/verdicts.md. Run it after a change of either.

python docs/site/pages.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vbench.compose.help import describe_key
from vbench.metrics.grades import GRADES
from vbench.metrics.grades import REMEDIES as GRADE_REMEDIES
from vbench.metrics.remedies import REMEDY
from vbench.schema import RunConfig, keys
from vbench.schema.failures import MEANING, PERMANENT

DOCS = Path(__file__).parents[1]
PARTS = {
    "": "The command",
    "model": "`model`: what is served",
    "hardware": "`hardware`: on what",
    "parallelism": "`parallelism`: how the model is split",
    "engine": "`engine`: the server",
    "workload": "`workload`: the load",
    "launcher": "`launcher`: how sessions run",
}


def keys_page() -> str:
    """Every config key: meaning, unit, allowed values, default."""
    found = {key.name: describe_key(key) for key in keys(RunConfig)}
    lines = [
        "# Every config key",
        "",
        "Set any of them on the command line (`workload.num_prompts=80`) or in a file of `conf/`.",
        "`vbench --help GROUP` prints the same, with the choices of the group. A choice may set its own value in place",
        "of the default.",
    ]
    for part, title in PARTS.items():
        own = {name: text for name, text in found.items() if (name.split(".")[0] if "." in name else "") == part}
        lines += [
            "",
            f"## {title}",
            "",
            "| key | meaning |",
            "|---|---|",
            *(_row(f"`{name}`", own[name]) for name in own),
        ]
    return "\n".join(lines) + "\n"


def verdicts_page() -> str:
    """What to do about each INVALID code and each kind of failure."""
    lines = [
        "# Verdicts and failures: what to do",
        "",
        "Every run ends VALID, INVALID (measured, but the numbers are not to be trusted) or FAILED (not measured). The",
        "record names the reason, and the screen prints what to do. [The rules of each reason](metrics.md#verdicts)",
        "say when a run is INVALID, and list the warnings that a VALID run can carry.",
        "",
        "## INVALID: what to do",
        "",
        "| reason | what to do |",
        "|---|---|",
        *(_row(f"`{code}`", text) for code, text in REMEDY.items()),
        "",
        "## VALID, with a reservation",
        "",
        "The screen and reports put these words beside the verdict, because no number of the run would show it.",
        "",
        "| warning | said | what to do |",
        "|---|---|---|",
        *(_row(f"`{code}`", words, GRADE_REMEDIES[code]) for code, words in GRADES.items()),
        "",
        "## FAILED: kinds",
        "",
        "A permanent failure is a result: the same command does not try it again, `rerun=failed` does. After a",
        "transient failure the same command measures the run again.",
        "",
        "| kind | means | again |",
        "|---|---|---|",
        *(
            _row(f"`{kind}`", text, "with `rerun=failed`" if kind in PERMANENT else "with the same command")
            for kind, text in MEANING.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES = {"keys.md": keys_page, "verdicts.md": verdicts_page}


def main(names: Sequence[str] = tuple(PAGES)) -> None:
    for name in names:
        (DOCS / name).write_text(PAGES[name]())


if __name__ == "__main__":
    main()
