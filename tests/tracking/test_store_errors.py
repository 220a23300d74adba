"""What is quoted of the store's errors."""

import pytest
from sqlalchemy.exc import OperationalError

from vbench.tracking.failures import LONGEST_MESSAGE, TrackingFailed, first_line, store_errors


def test_an_error_of_the_database_is_quoted_and_not_at_which_moment_it_came():
    cause = OperationalError("INSERT INTO tags", {}, Exception("disk I/O error"))
    cause.add_detail("raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block")
    assert str(cause).startswith("(raised as a result of")
    with (
        pytest.raises(TrackingFailed, match=r"^filing: \(builtins\.Exception\) disk I/O error$"),
        store_errors("filing"),
    ):
        raise cause


@pytest.mark.parametrize(("text", "told"), [("", "ValueError"), (" \none\ntwo", "one"), ("x" * 400, "x" * 299 + "…")])
def test_an_error_is_quoted_in_one_short_line(text, told):
    assert first_line(ValueError(text)) == told
    assert len(first_line(ValueError(text))) <= LONGEST_MESSAGE
