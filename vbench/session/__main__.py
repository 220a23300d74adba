"""The door: `python -m vbench.session multirun/EXPERIMENT/SESSION/session.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from vbench.host import leases
from vbench.schema.errors import Refused
from vbench.schema.record import find_record
from vbench.session import execute, sessionfile
from vbench.watch.events import Events
from vbench.watch.outcome import exit_code
from vbench.watch.screen import Screen


def main() -> int:
    """Carries out the session of one file; the exit code is that of a campaign."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m vbench.session PATH/session.json", file=sys.stderr)  # noqa: T201
        return 2
    path = Path(sys.argv[1])
    folder = path.parent
    try:
        session = sessionfile.read(path)
        leases.check(session, session.launcher.exclusive)
        with Screen({folder: session}) as screen:
            execute(session, folder, Events(folder, lambda event: screen.hear(folder, event)))
    except Refused as refused:
        print(f"vbench: {refused}", file=sys.stderr)  # noqa: T201
        return 2
    return exit_code([record for run in session.runs if (record := find_record(folder / run.folder))])


if __name__ == "__main__":
    sys.exit(main())
