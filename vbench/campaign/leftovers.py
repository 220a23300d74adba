"""Removes what killed processes leave half-written in a session's folder; nobody else would ever read or remove it."""

from __future__ import annotations

from pathlib import Path

from vbench.schema.record import remove_partial_files

# submitit's: a result under way, and a job that was not started; a started one is PID_submitted.pkl.
SUBMITIT = ("job/*.save_tmp", f"job/{'[0-9a-f]' * 32}.pkl")


def remove_leftovers(folder: Path) -> None:
    """Removes partial files of a session that no job and no other command has."""
    if folder.is_dir():
        for each in (folder, *filter(Path.is_dir, folder.iterdir())):
            remove_partial_files(each)
        for path in (path for pattern in SUBMITIT for path in folder.glob(pattern)):
            path.unlink(missing_ok=True)
