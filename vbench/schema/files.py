"""Files that appear complete or not at all, and whether a folder can take them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vbench.schema.errors import Refused


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to `path` only if the block succeeds."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def refuse_if_unwritable(folder: Path) -> None:
    """Raises Refused if the folder cannot be made or written: before anything starts, not when its results are lost."""
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(each))
    if not place.is_dir():
        raise Refused(f"{folder}: {place} is no folder; move it away, or start vbench in another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise Refused(f"{folder}: {place} cannot be written; start vbench in a folder that you may write")
