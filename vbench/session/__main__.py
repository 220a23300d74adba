"""The command `python -m vbench.session multirun/EXPERIMENT/SESSION/session.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from vbench.host import leases
from vbench.schema.errors import Refused
from vbench.schema.record import find_record
from vbench.session import execute, sessionfile
from vbench.watch import Events
from vbench.watch.outcome import exit_code
from vbench.watch.pipes import end_quietly
from vbench.watch.screen import Screen

HELP = """\
usage: python -m vbench.session PATH/session.json

Carries out one planned session in this process: multirun/EXPERIMENT/SESSION/session.json, or a copy of it.
Runs that have a final record in the file's folder are not repeated.
"""


def main(words: list[str]) -> int:
    """Carries out the session of one file; the exit code is that of a campaign."""
    if len(words) != 1 or words[0].startswith("-"):
        print(HELP.splitlines()[0], file=sys.stderr)  # noqa: T201
        return 2
    path = Path(words[0])
    folder = path.parent
    try:
        session = sessionfile.read(path)
        leases.refuse_if_unavailable(session, session.launcher.exclusive)
        with Screen({folder: session}) as screen:
            execute(session, folder, Events(folder, lambda event: screen.show_event(folder, event)))
    except Refused as refused:
        print(f"vbench: {refused}", file=sys.stderr)  # noqa: T201
        return 2
    return exit_code([record for run in session.runs if (record := find_record(folder / run.folder))])


if __name__ == "__main__":
    sys.exit(end_quietly(lambda: main(sys.argv[1:])))
