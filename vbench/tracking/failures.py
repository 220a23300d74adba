"""The store's errors, as our own exceptions."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vbench.schema.errors import VbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE_LIBRARIES = {"mlflow", "sqlalchemy", "alembic"}
LONGEST_MESSAGE = 300
WHEN = "(raised as a result of"  # a line of SQLAlchemy's before the error itself: at which moment it came


class TrackingFailed(VbenchError):
    """The store is unreachable, locked or broken. Records on disk are unharmed; `vbench.ingest` files them later."""


class UnreadableRecord(VbenchError):
    """The folder has no record, or its record is not from vbench."""


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turns every error of a store into TrackingFailed; errors in our own code pass through."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise TrackingFailed(f"{doing}: {first_line(error)}") from error
    except Exception as error:
        # Checks the library's name, which avoids importing anything heavy.
        if type(error).__module__.split(".")[0] in STORE_LIBRARIES:
            raise TrackingFailed(f"{doing}: {first_line(error)}") from error
        raise


def first_line(error: Exception) -> str:
    """The first line of an error that says what happened, cut to LONGEST_MESSAGE."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith(WHEN)]
    line = (lines or [type(error).__name__])[0]
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"
