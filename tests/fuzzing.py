"""Files that nobody should have written: records, session files, events and results of others, cut, bent and hostile.

Each `check_…` takes one text, asserts what must hold of any, and says in a word what became of it.
tests/commands/test_fuzz.py runs a few hundred, benchmarks/fuzz.py ten thousand.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections import Counter
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import builders
import records
import results
from hypothesis import strategies as st
from rich.console import Console

from vbench import compose, imported
from vbench.analysis import comparisons, frame, report
from vbench.analysis.answers import answer
from vbench.analysis.options import Options
from vbench.analysis.terminal import print_section
from vbench.plan.rules import check_run
from vbench.plan.sessions import Session, plan
from vbench.schema import to_plain
from vbench.schema.errors import Refused
from vbench.schema.record import Reason, Record, find_record, record_flaw
from vbench.session import sessionfile
from vbench.tracking import filing
from vbench.tracking.failures import UnreadableRecord
from vbench.watch import EVENTS, EventReader
from vbench.watch.outcome import advice, exit_code, summary
from vbench.watch.screen import Screen

MARK = "<script>alert(1)</script>"
HOSTILE = [
    MARK, "[/bold][link=javascript:x]y[/]", "\x1b]0;owned\x07\x1b[31m", "$\\frac{$", "a|b\n# c", "`x` **y**", "../up",
    "/abs", "\x00", "\ud800", "x" * 5000, "", " ", "模型", "NaN", "inf", "-0", "1e999", "=cmd()", "'; DROP TABLE runs",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(HOSTILE),
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, -1.5, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")]),
    st.just([]),
    st.just({}),
    st.sampled_from([[MARK], {MARK: MARK}, [[[[1]]]], {"a": {"b": None}}, [None] * 3, ["x"] * 3]),
    st.text(max_size=20),
)
STEP = st.tuples(st.sampled_from(["set", "set", "set", "drop", "add", "nest"]), st.integers(0, 10**6), VALUES)
CUT = st.tuples(st.sampled_from(["", "", "", "", "", "", "cut", "bytes", "twice"]), st.integers(0, 10**6))


@st.composite
def bent(draw: Any, samples: list[Any]) -> bytes:
    """The JSON of one of the samples with some of its values replaced, and sometimes cut."""
    data = copy.deepcopy(draw(st.sampled_from(samples)))
    for step in draw(st.lists(STEP, max_size=3)):
        data = bend(data, *copy.deepcopy(step))
    text = json.dumps(data).encode()
    how, place = draw(CUT)
    place %= len(text) + 1
    if how == "cut":
        return text[:place]
    if how == "bytes":
        return text[:place] + b"\xff\x00\xfe" + text[place:]
    return text + b"\n" + text if how == "twice" else text


def bend(data: Any, how: str, place: int, value: Any) -> Any:
    """The data with one value or key changed, in place."""
    places = list(walk(data))
    if not places:
        return value
    holder, key = places[place % len(places)]
    if how == "drop":
        del holder[key]
    elif how == "add" and isinstance(holder, dict):
        holder[str(value)] = value
    elif how == "nest":
        holder[key] = {"x": holder[key]}
    else:
        holder[key] = value
    return data


def walk(data: Any) -> Any:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items):
        yield data, key
        yield from walk(value)


# ---- samples


def sample_records() -> list[Any]:
    found = [
        records.record(),
        records.record(model=MARK, gpus=2, tp=2, num_prompts=10),
        records.record(invalid=[Reason("late_sends", MARK)], num_prompts=80),
        records.record(gpus=4, tp=4, failure=records.Failure("oom_load", "[rank0]: CUDA out of memory")),
    ]
    return [json.loads(json.dumps(to_plain(each))) | {"verdict": each.verdict} for each in found]


def sample_session() -> Session:
    configs = [builders.run_config(workload={"lengths": "random", "num_prompts": n}) for n in (2, 4)]
    return plan((check_run(each), "vllm 0.32.0") for each in configs)[0]


def sample_events() -> list[Any]:
    run = sample_session().runs[0]
    return [
        {"t": 1.0, "event": "waiting", "wanted": "2 of h100"},
        {"t": 1.5, "event": "leased", "gpus": ["GPU-1"]},
        {"t": 2.0, "event": "starting", "servers": 1, "points": 2, "url": None},
        {"t": 3.0, "event": "ready", "version": "0.32.0", "start_s": 30.5, "kv_cache_tokens": 1024},
        {"t": 4.0, "event": "measuring", "run": run.key, "name": run.name, "replies": 2},
        {"t": 5.0, "event": "tick", "run": run.key, "replies": 1, "tokens": 20},
        {"t": 6.0, "event": "recorded", "run": run.key, "folder": run.folder, "verdict": "VALID"},
        {"t": 7.0, "event": "failed", "kind": "oom_load", "line": "[rank0]: out of memory", "log": None},
        {"t": 8.0, "event": "ended", "how": "completed"},
    ]


RECORDS, SESSIONS, EVENT_LINES = sample_records(), [to_plain(sample_session())], sample_events()
RESULTS = [
    results.summary(),
    results.detailed([(0.1, [0.01, 0.02], 3), (0.2, [0.02], 2)]),
    {"reason": "CUDA out of memory"},
]
KEYS_PLACE = re.compile(r"\[\d+\]")  # in MLflow's messages
SOURCE = imported.Source(facts={}, modified=datetime(2026, 1, 1, tzinfo=timezone.utc), experiment="fuzz")
CATALOGUE = imported.Catalogue(compose.known_models(), compose.known_gpus())


# ---- checks


def check_record(text: bytes, folder: Path) -> Record | None:
    """A record is read or passed over by name; if it is read, everything that shows it can."""
    (folder / "record.json").write_bytes(text)
    found = find_record(folder)
    if found is None:
        assert record_flaw(folder)
        return None
    show(found)
    return found if stores(found, folder) else None


def stores(found: Record, folder: Path) -> bool:
    """Whether the record can be filed; then under its own key, verdict and experiment, and with nothing that acts."""
    try:
        entry = filing._read(folder)
    except UnreadableRecord:
        return False
    assert entry.record == found or "nan" in repr(found)
    note = entry.columns.tags["mlflow.note.content"]
    assert "<" not in note.replace("&lt;", ""), note
    return True


def show(found: Record) -> None:
    """Prints a record as the end of a campaign does."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=False, width=200)
    for line in (*summary([found]), *advice([found])):
        console.print(line)
    exit_code([found])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", written.getvalue())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)


def check_report(some: list[Record], out: Path, formats: list[str]) -> str:
    """The report of these records is written, and none of their names acts in it."""
    runs = frame.runs(records.table(some))
    sections = comparisons.sections(runs, Options(figures=formats))
    first = answer(runs, sections, Options())
    files = report.write(first, sections, report.provenance(runs, ["fuzz"], "store"), out, formats)
    tags = Tags()
    tags.feed((out / "report.html").read_text())
    assert "script" not in tags.found
    assert MARK not in (out / "report.md").read_text()
    assert {path.parent for path in files} == {out}
    written = io.StringIO()
    console = Console(file=written, force_terminal=False, width=200)
    for section in sections:
        print_section(console, section)
    assert "\x1b" not in written.getvalue()
    assert files
    return "written"


def check_session(text: bytes, folder: Path) -> str:
    """A session file is read or refused in one line; if it is read, so are its rules."""
    path = folder / "session.json"
    path.write_bytes(text)
    try:
        session = sessionfile.read(path)
        for run in session.runs:
            assert Path(run.folder).name == run.folder
            check_run(run.config)
        Screen({folder: session})
    except Refused as error:
        refused = str(error)
    else:
        return "read"
    assert "\n" not in refused
    return "refused"


def check_events(text: bytes, folder: Path, screen: Screen) -> str:
    """A line is an event or passed over by name; the screen shows either."""
    (folder / EVENTS).write_bytes(text + b"\n")
    events = EventReader(folder).read()
    for event in events:
        screen.show_event(folder, event)
    return "passed over by name" if all(event.kind == "unreadable" for event in events) else "shown"


def check_result(text: bytes, folder: Path) -> list[Record]:
    """A result of another tool becomes records, or is no result."""
    found = []
    try:
        for each in imported.parse_results(text.decode("utf-8")):
            entry = imported.convert(each, SOURCE, CATALOGUE)
            if entry:
                entry.record.save(folder)
                record = check_record((folder / "record.json").read_bytes(), folder)
                assert record is not None, record_flaw(folder)
                assert record.source == "imported"
                found.append(record)
    except (UnicodeDecodeError, imported.NotAResult):
        return []
    return found


def chunks(some: list[Record], size: int) -> list[list[Record]]:
    return [some[start : start + size] for start in range(0, len(some), size)]


def check_filing(some: list[Record], home: Path) -> Counter[str]:
    """Files the records in a store of their own; each is there under its own key, verdict and experiment, once.

    A record that the store refuses is named with the reason, and the others are filed. How many became what.
    """
    import mlflow  # noqa: F401  its import takes a second
    import pytest

    from vbench import tracking

    outcomes = Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{records.empty_store(home)}")
        filed: dict[tuple[str, str], set[str]] = {}
        for number, each in enumerate(some):
            folder = home / str(number)
            folder.mkdir()
            each.save(folder)
            try:
                done = tracking.deliver(folder)
            except tracking.TrackingFailed as refusal:
                outcomes[f"store: refused, {read_reason(refusal, folder):.80}"] += 1
                continue
            assert done.experiment == each.experiment
            key = each.experiment, each.run_key
            outcomes["store: as a key that it has" if key in filed else "store: filed and read back as it was"] += 1
            filed.setdefault(key, set()).add(each.verdict)
        for experiment in {experiment for experiment, _ in filed}:
            table = tracking.query(experiment).set_index("tags.vbench.run_key")["tags.vbench.validity"]
            assert table.index.is_unique
            verdicts = {key: found for (name, key), found in filed.items() if name == experiment}
            assert set(table.index) == set(verdicts)
            assert all(table[key] in verdicts[key] for key in verdicts)
    return outcomes


def read_reason(refusal: Exception, folder: Path) -> str:
    """Why the record of this folder is refused, without places in lists; the refusal must name both in one line."""
    before, named, reason = str(refusal).partition(f"cannot file {folder}: ")
    assert named, refusal
    assert not before, refusal
    assert reason, refusal
    assert "\n" not in reason, refusal
    return KEYS_PLACE.sub("[…]", reason)
