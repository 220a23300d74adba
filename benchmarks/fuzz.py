"""Ten thousand bent, cut and hostile files: records, session files, events and results of other tools.

    python benchmarks/fuzz.py [EXAMPLES [SEED]]

Prints how many of each were read or refused, and every kind of traceback, hang or false statement that was
found; if there is one, the exit code is 1. The files are the same in each run of one SEED (0).
tests/fuzzing.py says what must hold of each file.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

import fuzzing  # noqa: E402
from hypothesis import HealthCheck, given, seed, settings  # noqa: E402

from vbench.schema.record import Record  # noqa: E402
from vbench.watch.screen import Screen  # noqa: E402

HANG_S = 20.0
REPORT_OF = 40  # records in one report
PRINTED = 4  # faults, in full
FILED_EACH = 4  # of the records that are read, one in so many goes into a store too


class Hang(Exception):
    """One example took HANG_S of CPU time."""


@dataclass
class Tally:
    """What became of the examples."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    seed: int = 0

    def run(self, name: str, check: Callable[[], str], shown: object = "") -> None:
        """Counts what a check says, or what it raises; the first faults are printed in full."""
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        try:
            self.outcomes[f"{name}: {check()}"] += 1
        except Exception as error:  # noqa: BLE001  all of them are counted
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{Path(where.filename).name}:{where.lineno}"
            self.faults[f"{name}: {type(error).__name__} at {at}: {error!s:.120}"] += 1
            if self.faults.total() < PRINTED:
                traceback.print_exception(error)
                print(shown)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.slowest_s = max(self.slowest_s, time.process_time() - began)

    def count(self, outcomes: Counter[str]) -> str:
        """Adds outcomes of a check that looks at several examples at once."""
        self.outcomes += outcomes
        return "opened"

    def fuzz(self, name: str, samples: list[Any], examples: int, check: Callable[[bytes], str]) -> None:
        """Runs the check on so many bent copies of the samples."""

        @seed(self.seed)
        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(fuzzing.bent(samples))
        def one(text: bytes) -> None:
            self.run(name, lambda: check(text), text[:3000])

        one()


def main(examples: int = 10_000, seed: int = 0) -> int:
    """Runs every check on its share of the examples; the exit code is 1 if anything was found."""
    warnings.simplefilter("ignore")
    logging.disable()
    signal.signal(signal.SIGPROF, _hang)
    tally, accepted = Tally(seed=seed), list[Record]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def check_record(text: bytes) -> str:
            made = fuzzing.check_record(text, folder)
            accepted.extend([made] if made else [])
            return "read" if made else "passed over by name"

        def check_result(text: bytes) -> str:
            made = fuzzing.check_result(text, folder)
            accepted.extend(made)
            return "imported" if made else "no result"

        screen = Screen({folder: fuzzing.sample_session()})
        screen.console.file = (folder / "screen").open("w", errors="replace")
        tally.fuzz("record", fuzzing.RECORDS, examples * 3 // 10, check_record)
        tally.fuzz("result", fuzzing.RESULTS, examples * 3 // 10, check_result)
        tally.fuzz("session", fuzzing.SESSIONS, examples // 5, lambda text: fuzzing.check_session(text, folder))
        tally.fuzz("event", fuzzing.EVENT_LINES, examples // 5, lambda text: fuzzing.check_events(text, folder, screen))
        for start in range(0, len(accepted), REPORT_OF):
            some, drawn = accepted[start : start + REPORT_OF], ["svg"] if start % (20 * REPORT_OF) == 0 else []
            tally.run("report", lambda: fuzzing.check_report(some, folder / "report", drawn))  # noqa: B023  run at once
        for number, some in enumerate(fuzzing.chunks(accepted[::FILED_EACH], 20)):
            tally.run("store", lambda: tally.count(fuzzing.check_filing(some, folder / f"store{number}")))  # noqa: B023
    for name, count in sorted(tally.outcomes.items()):
        print(f"{count:6}  {name}")
    print(f"slowest {tally.slowest_s:.2f} s of CPU; {tally.faults.total()} faults of {len(tally.faults)} kinds")
    for name, count in tally.faults.most_common():
        print(f"{count:6}  {name}")
    return 1 if tally.faults else 0


def _hang(*_: object) -> None:
    raise Hang


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
