"""What can go wrong with the store, as names."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vbench.schema.errors import VbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE_LIBRARIES = {"mlflow", "sqlalchemy", "alembic"}
LONGEST_MESSAGE = 300


class TrackingFailed(VbenchError):
    """The store is out of reach, locked or broken. Records on disk are unharmed: `vbench.ingest` files them later."""


class UnreadableRecord(VbenchError):
    """The folder has no record, or one that is not a record of vbench."""


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turns whatever a store can raise into TrackingFailed; mistakes of ours pass through as they are."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise TrackingFailed(f"{doing}: {first_line(error)}") from error
    except Exception as error:
        # By the name of its library, so that nothing heavy is imported to find out.
        if type(error).__module__.split(".")[0] in STORE_LIBRARIES:
            raise TrackingFailed(f"{doing}: {first_line(error)}") from error
        raise


def first_line(error: Exception) -> str:
    """The first line of an error, cut to what a terminal can bear."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"
