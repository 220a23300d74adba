"""Kills a campaign's processes at every point where they change a file or start a program, and repeats the command.

    python benchmarks/crash_walk.py                     all points; tens of minutes on two cores
    python benchmarks/crash_walk.py --every 20          some 20th of them: always the same, by a checksum of their names
    python benchmarks/crash_walk.py --only "job rename" those whose names contain this

What a point is, and how a process is killed there, is said in tests/crash.py. An undisturbed campaign tells the points;
those that it meets often (each page that SQLite writes) are walked at some of their turns. A point is walked by a kill
before it, one after it, one in the middle of what it writes; and with the call failing by EIO once, or by ENOSPC from
then on. Then the same command is given until it has nothing left to do, and everything is counted: each point must be
in a record and in MLflow once; no process, lease, job or half-written file may be left; no traceback is shown; and a
command that failed by an I/O error must have named it.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import crash  # noqa: E402  the checkout is the package
from crash import Fault  # noqa: E402

TURNS = 2  # of one point that are walked: evenly spread over those met
TURNS_OF_STORE = 6  # of SQLite's writes, which are many transactions
ROOMY = ("open", "write", "mkdir", "link", "sync")  # calls that a full disk fails
NO_ERROR = ("exec", "unlink", "rmdir", "chmod")  # killed only


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="walk about one point in N: those whose checksum")
    parser.add_argument("--part", type=int, default=0, help="modulo N is this")
    parser.add_argument("--only", default="", help="walk the points whose names contain this")
    parser.add_argument("--ways", default="", help="as before,after,torn,EIO,ENOSPC")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="campaigns at the same time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no campaign after this time")
    parser.add_argument("--list", action="store_true", help="print the points, and end")
    parser.add_argument("--keep", action="store_true", help="keep the folders of campaigns with faults")
    options = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        begin_again()
    place = Path(os.environ["WALK_PLACE"])
    try:
        return walk(options, place)
    finally:
        if not options.keep:
            shutil.rmtree(place, ignore_errors=True)


def begin_again() -> None:
    """Replaces this process by one with the library loaded."""
    place = Path(tempfile.mkdtemp(prefix="vbench-walk-"))
    surroundings = crash.environment(crash.build(place)) | {"WALK_PLACE": str(place)}
    os.execve(sys.executable, [sys.executable, *sys.argv], surroundings)


def walk(options: argparse.Namespace, place: Path) -> int:
    began = time.monotonic()
    crash.furnish()
    preload, store = place / "faults.so", make_store(place)
    reference = crash.new_home(place / "undisturbed", store, preload)
    command = reference.give(log=True)
    assert command.code in (0, 1), command.said
    assert len(set(crash.done(reference))) == crash.POINTS, command.said
    undisturbed = reference.files()
    if options.list:
        print(*(f"{fault.way:6} {fault.point}" for fault in chosen(reference.points())), sep="\n")
        return 0
    some = [each for each in chosen(reference.points()) if options.only in each.point]
    some = [each for each in some if not options.ways or name(each.way) in options.ways.split(",")]
    some = sorted((each for each in some if checksum(each) % options.every == options.part), key=checksum)
    print(f"{len(set(reference.points()))} points met, {len(some)} faults to walk", flush=True)
    results = []
    for result in in_parallel(some, place, (store, preload, undisturbed), options, began):
        results.append(result)
        if result["wrong"]:
            print(
                f"{result['way']:6} {result['point']} ({result['seconds']:.0f} s)",
                *result["wrong"],
                sep="\n    ",
                flush=True,
            )
    return summarise(results, time.monotonic() - began)


def make_store(place: Path) -> Path:
    """An empty store, made by a process of its own: a forked driver must not inherit connections."""
    child = os.fork()
    if not child:
        (place / "store").mkdir()
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{place}/store/mlflow.db"
        from vbench.tracking.opening import connect

        connect()
        os._exit(0)
    os.waitpid(child, 0)
    import sqlite3

    with sqlite3.connect(place / "store" / "mlflow.db") as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return place / "store" / "mlflow.db"


def chosen(points: Sequence[str]) -> list[Fault]:
    """The faults to walk, for the points that a campaign met."""
    numbers = defaultdict(set)
    for point in points:
        words, _, number = point.rpartition(" ")
        numbers[words].add(int(number))
    found = []
    for words, met in numbers.items():
        turns = TURNS_OF_STORE if "mlflow.db" in words and "lock" not in words else TURNS
        for number in spread(sorted(met), turns):
            found += [Fault(f"{words} {number}", way) for way in ways(words)]
    return found


def checksum(fault: Fault) -> int:
    """Mixes the kinds of points, whatever else a campaign met."""
    return zlib.crc32(f"{fault.point} {fault.way}".encode())


def ways(words: str) -> Iterator[str]:
    call = words.split()[1]
    yield from ("before", "after")
    if call == "write":
        yield "torn"
    if call not in NO_ERROR:
        yield str(errno.EIO)
    if call in ROOMY:
        yield str(errno.ENOSPC)


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """`count` of the numbers, the first and the last among them."""
    if len(numbers) <= count:
        return list(numbers)
    return [numbers[round(place * (len(numbers) - 1) / (count - 1))] for place in range(count)]


def in_parallel(
    some: Sequence[Fault], place: Path, given: tuple, options: argparse.Namespace, began: float
) -> Iterator[dict]:
    """Walks the faults, some at a time, each in a process of its own; their results as they come."""
    waiting, running = list(enumerate(some)), {}
    while waiting or running:
        while waiting and len(running) < options.at_once and time.monotonic() - began < options.seconds:
            number, fault = waiting.pop(0)
            child = os.fork()
            if not child:
                try:
                    one(fault, place / f"{number}", given, options.keep)
                finally:
                    os._exit(0)
            running[child] = place / f"{number}.json", fault
        if not running:
            return
        child, _ = os.wait()
        path, fault = running.pop(child)
        yield json.loads(path.read_text()) if path.exists() else result_of(fault, ["the walk itself failed"], False, 0)


def one(fault: Fault, place: Path, given: tuple, keep: bool) -> None:
    store, preload, undisturbed = given
    began = time.monotonic()
    home = crash.new_home(place, store, preload)
    wrong = crash.go_through(home, fault)
    wrong += crash.faults(home, undisturbed)
    written = place.with_suffix(".json")
    written.write_text(json.dumps(result_of(fault, wrong, home.fired, time.monotonic() - began)))
    if not (keep and wrong):
        home.remove()


def result_of(fault: Fault, wrong: list[str], fired: bool, seconds: float) -> dict:
    return {"point": fault.point, "way": name(fault.way), "wrong": wrong, "fired": fired, "seconds": seconds}


def name(way: str) -> str:
    return errno.errorcode[int(way)] if way.isdigit() else way


def summarise(results: Sequence[dict], seconds: float) -> int:
    walked = [each for each in results if each["fired"]]
    table = Counter((" ".join(each["point"].split()[:2]), each["way"]) for each in walked)
    columns = ("before", "after", "torn", "EIO", "ENOSPC")
    print(f"\n| point | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for row in sorted({row for row, _ in table}):
        print(f"| {row} | {' | '.join(str(table[row, column] or '') for column in columns)} |")
    kills = sum(each["way"] in ("before", "after", "torn") for each in walked)
    wrong = Counter(said.partition(":")[0] for each in results for said in each["wrong"])
    print(
        f"\n{kills} kills and {len(walked) - kills} I/O errors in {seconds:.0f} s; "
        f"{len(results) - len(walked)} points were not met again\n"
        f"{wrong['lost']} lost, {wrong['double']} double, {wrong['orphan']} orphans, {wrong['file left']} files left, "
        f"{sum(wrong.values()) - sum(wrong[each] for each in ('lost', 'double', 'orphan', 'file left'))} other faults"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
