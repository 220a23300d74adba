"""A few hundred bent, cut and hostile files; benchmarks/fuzz.py runs ten thousand."""

import fuzzing
import pytest
from hypothesis import HealthCheck, given, settings

from vbench.watch.screen import Screen

pytestmark = pytest.mark.slow  # takes seconds

few = settings(max_examples=80, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@few
@given(text=fuzzing.bent(fuzzing.RECORDS))
def test_a_record_is_read_and_shown_or_passed_over_by_name(folder, text):
    fuzzing.check_record(text, folder)


@few
@given(text=fuzzing.bent(fuzzing.RESULTS))
def test_a_result_of_another_tool_becomes_a_record_that_can_be_read_or_is_none(folder, text):
    fuzzing.check_result(text, folder)


@few
@given(text=fuzzing.bent(fuzzing.SESSIONS))
def test_a_session_file_is_read_or_refused_in_one_line(folder, text):
    fuzzing.check_session(text, folder)


@few
@given(text=fuzzing.bent(fuzzing.EVENT_LINES))
def test_an_event_is_shown_or_passed_over_by_name(folder, text):
    fuzzing.check_events(text, folder, Screen({folder: fuzzing.sample_session()}))


def test_what_was_read_can_be_compared_and_acts_in_no_output(folder):
    some = [fuzzing.check_record(fuzzing.json.dumps(each).encode(), folder) for each in fuzzing.RECORDS]
    some += fuzzing.check_result(fuzzing.json.dumps(fuzzing.RESULTS[0] | {"model_id": fuzzing.MARK}).encode(), folder)
    assert None not in some
    assert fuzzing.check_report(some, folder / "report", []) == "written"
