"""The command `vbench archive FOLDER`: the records of a campaign in one file, to keep or to send."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.filesize import decimal

from vbench.schema.archives import SUFFIX, write_archive
from vbench.schema.errors import Refused
from vbench.watch.pipes import end_quietly

HELP = f"""\
python -m vbench.campaign.archiving FOLDER

Writes FOLDER{SUFFIX}: the records of all runs at or below the folder, with raw requests, telemetry and the engine's
log. `vbench ingest` files the same runs from the archive as from the folder. Raw requests take about a third of their
space in it, and no bit of their columns is lost. The folder stays as it is.

Examples
  vbench archive multirun/published            writes multirun/published{SUFFIX}
  vbench ingest multirun/published{SUFFIX}         here or on any other machine
"""


def main(words: list[str]) -> int:
    """Returns the exit code: 0, or 2 if the words were refused or nothing could be written."""
    if {"-h", "--help"} & set(words):
        print(HELP, end="")  # noqa: T201
        return 0
    try:
        print(archive(words))  # noqa: T201
    except Refused as refused:
        print(f"vbench: {refused}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def archive(words: list[str]) -> str:
    """Archives the one folder that the words name, and says what was written. Raises Refused."""
    if len(words) != 1:
        raise Refused("archive: name one folder, such as multirun/published (--help has examples)")
    given = Path(words[0])
    if not given.is_dir():
        raise Refused(f"{given}: no such folder")
    if not given.resolve().name:
        raise Refused(f"{given}: an archive has its folder's name, and the root has none; name a folder below it")
    folder = given if given.name.strip(".") else given.resolve()  # "." and ".." have no name of their own
    target = folder.with_name(f"{folder.name}{SUFFIX}")
    runs = write_archive(folder, target)
    return f"{target}: {runs} runs, {decimal(target.stat().st_size)} · read it: vbench ingest {target}"


if __name__ == "__main__":
    sys.exit(end_quietly(lambda: main(sys.argv[1:])))
