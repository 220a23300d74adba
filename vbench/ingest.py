"""The door: `python -m vbench.ingest PATH... [experiment=NAME] [pattern=REGEX]` files existing results in MLflow.

It takes vbench's own records, written while the store was unreachable or on another machine, and results of vLLM's
benchmark. Running it again is safe.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from vbench import compose, imported, tracking
from vbench.schema.archives import holds_records, is_archive, unpack_runs
from vbench.schema.errors import Refused, VbenchError
from vbench.schema.pasting import say_command
from vbench.schema.record import RECORD, REQUESTS, Record
from vbench.schema.secrets import redact
from vbench.schema.text import one_line
from vbench.session.sessionfile import SESSION
from vbench.watch.pipes import end_quietly

if TYPE_CHECKING:
    from vbench.tracking.filing import Filed

HELP = f"""\
python -m vbench.ingest PATH [PATH ...] [experiment=NAME] [pattern='REGEX']

Files all results at or below the paths in MLflow (MLFLOW_TRACKING_URI, or else mlruns/mlflow.db here):

  record.json   runs that vbench measured, each into its own experiment
  .zip          archives of such runs, as `vbench archive` writes them; they need not be unpacked
  other .json   results of vLLM's benchmark_serving.py or `vllm bench serve` (--save-result, --append-result, sweeps),
                and {{"reason": "..."}}, a failure. Dates and numbers are kept; source=imported marks the runs
                results of guidellm, aiperf, genai-bench, inference-perf, evalscope perf, InferenceX (agg_*.json), and
                llm-d's Benchmark Report 0.2 (benchmark_report*.yaml). What a tool defines otherwise than vbench gets a
                name of its own

What is already filed stays as it is, so the command can be run again at any time.

  experiment=NAME   where imported results go (default: imported)
  reports=FOLDER    also writes each run there as llm-d's Benchmark Report 0.2, in JSON
  pattern='REGEX'   reads from a result's path, by named groups, what the file does not say: model, gpu, gpus,
                    engine_version, and options under vLLM's names (tensor_parallel_size, max_model_len, num_prompts).
                    The default reads results/prompt_320/1xH100-80GB-SXM/Mistral-7B-Instruct-v0.3_tp1_len2000.json:
                    {imported.PATTERN}

Examples
  python -m vbench.ingest multirun                        everything measured here
  python -m vbench.ingest multirun/published /mnt/node7   one experiment, and what another machine measured
  python -m vbench.ingest published.zip                   an archived campaign
  python -m vbench.ingest results experiment=study2024    a tree of vLLM's results
  python -m vbench.ingest old pattern='(?P<gpus>\\d+)x(?P<gpu>\\w+)/(?P<model>[^/]+)-v(?P<engine_version>[\\d.]+)/'
  MLFLOW_TRACKING_URI=http://mlflow:5000 python -m vbench.ingest multirun
"""
SUFFIXES = (".json", ".jsonl")
YAML = (".yaml", ".yml")
PATIENCE_S = 30.0  # spent on a store that refuses everything


@dataclass(frozen=True)
class Options:
    """The arguments of the door."""

    paths: tuple[str, ...]
    experiment: str
    pattern: re.Pattern[str]
    reports: Path | None = None  # where Benchmark Reports go


@dataclass
class Tally:
    """How many records were filed, were there already, were unreadable, or were refused by the store."""

    filed: int = 0
    already_there: int = 0  # this record, or a better one of the same run key
    unreadable: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)  # by the store: its reasons, and what it refused
    wasted_s: float = 0.0  # on a store that refused
    experiments: set[str] = field(default_factory=set)

    def add(self, filed: Filed) -> None:
        self.experiments.add(filed.experiment)
        self.filed += filed.new
        self.already_there += not filed.new

    def __str__(self) -> str:
        count = sum(map(len, self.refused.values()))
        refused = f", refused by the store {count}" if count else ""
        return f"filed {self.filed}, already there {self.already_there}, unreadable {len(self.unreadable)}{refused}"


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0; 1 if records were unreadable or the store failed; 2 if an argument was wrong."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")  # noqa: T201
        return 0
    try:
        chosen = parse_options(arguments)
        files = find_files(chosen.paths)
        tally = ingest(track(files, "filing", console=Console(stderr=True), transient=True), chosen)
    except VbenchError as error:
        print(f"vbench: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, Refused) else 1
    for what, lines in (("unreadable", tally.unreadable), ("not filed", _describe_refused(tally.refused))):
        for line in lines:
            print(f"{what}: {one_line(line)}", file=sys.stderr)  # noqa: T201
    print(f"{tally} · {redact(tracking.store())}")  # noqa: T201
    for line in _next_steps(sorted(tally.experiments)):
        print(one_line(line))  # noqa: T201
    return 1 if tally.unreadable or tally.refused else 0


def _describe_refused(refused: Mapping[str, list[str]]) -> list[str]:
    """A line for each reason of the store: one that holds for every record is said once."""
    return [
        f"{sources[0]}: {reason}" + (f" (and {len(sources) - 1} more for this reason)" if len(sources) > 1 else "")
        for reason, sources in refused.items()
    ]


def _next_steps(experiments: list[str]) -> list[str]:
    """The commands and pages that show what was filed."""
    pages = [page for experiment in experiments if (page := tracking.page(experiment))]
    compare = [f"compare: {say_command('analyze', f'experiment={each}')}" for each in experiments]
    return [*compare, *pages]


def parse_options(arguments: list[str]) -> Options:
    """Separates paths from key=value. Raises Refused for an unknown key or an invalid pattern."""
    given = {"experiment": "imported", "pattern": imported.PATTERN, "reports": ""}
    paths = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in given:
            given[key] = value
        elif equals and key.isidentifier() and not Path(argument).exists():  # a sweep's files are named run=0.json
            near = difflib.get_close_matches(key, given, n=1, cutoff=0)[0]
            raise Refused(f"{key}: no such option, nor is {argument} a path; did you mean {near}=?")
        else:
            paths.append(argument)
    if not paths:
        raise Refused("ingest: name a path to look below, such as multirun (--help has examples)")
    reports = Path(given["reports"]) if given["reports"] else None
    return Options(tuple(paths), given["experiment"], imported.compile_pattern(given["pattern"]), reports)


def find_files(paths: Iterable[str]) -> list[Path]:
    """The files and archives to read at or below the paths, each once.

    Raises Refused if a path does not exist or holds none, or if an archive is damaged or may do harm.
    """
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise Refused(f"{path}: no such file or folder")
        below = [path] if path.is_file() else [file for file in sorted(path.rglob("*.*")) if _is_candidate(file)]
        if is_archive(path) and not holds_records(path):
            raise Refused(f"{path}: no {RECORD} in it")
        if not below:
            raise Refused(f"{path}: no {RECORD} there or below, nor another JSON file")
        files |= dict.fromkeys(file.resolve() for file in below)
    return list(files)


def ingest(files: Iterable[Path], chosen: Options) -> Tally:
    """Files the contents of each file. What the store refuses is noted, and does not stop the others.

    Raises TrackingFailed if the store has taken nothing and PATIENCE_S have passed: then it does not answer.
    """
    tally = Tally()
    for file in files:
        if file.name == RECORD:
            _file_record(file.parent, chosen, tally)
        elif is_archive(file):
            for name, folder in _unpack(file, tally):
                _file_record(folder, chosen, tally, source=file / name)
        else:
            _file_results(file, chosen, tally)
    return tally


def _unpack(archive: Path, tally: Tally) -> Iterator[tuple[str, Path]]:
    """As `unpack_runs`; what is damaged is noted, and ends the archive only."""
    try:
        yield from unpack_runs(archive)
    except Refused as error:
        tally.unreadable.append(str(error))


def _file_record(folder: Path, chosen: Options, tally: Tally, source: Path | None = None) -> None:
    """Files the record of a folder, which was made from `source` if that is given."""
    began = time.monotonic()
    try:
        tally.add(tracking.deliver(folder))
        _write_report(folder, chosen.reports)
    except tracking.UnreadableRecord as error:
        tally.unreadable.append(str(error).replace(str(folder), str(source or folder)))
    except tracking.TrackingFailed as error:
        reason = str(error).removeprefix(f"cannot file {folder}: ")
        tally.refused.setdefault(reason, []).append(str(source or folder))
        tally.wasted_s += time.monotonic() - began
        if not tally.experiments and tally.wasted_s > PATIENCE_S:
            raise


def _file_results(file: Path, chosen: Options, tally: Tally) -> None:
    try:
        source = _source(file, chosen)
        results = imported.parse_results(file.read_text("utf-8"), is_yaml=file.suffix in YAML)
        entries = [entry for result in results for entry in imported.convert_all(result, source, _catalogue())]
    except (OSError, UnicodeDecodeError, imported.NotAResult) as error:
        tally.unreadable.append(f"{file}: {error}")
        return
    for entry in entries:
        # Records are filed from folders, with the logs there or one above, where /tmp may hold those of somebody else.
        # This folder can be made again from the result file at any time.
        with tempfile.TemporaryDirectory(prefix="vbench-ingest-") as session:
            folder = Path(session) / "run"
            folder.mkdir()
            entry.record.save(folder)
            if entry.requests is not None:
                entry.requests.save(folder / REQUESTS)
            _file_record(folder, chosen, tally, source=file)


def _write_report(folder: Path, reports: Path | None) -> None:
    """Writes the folder's record as a Benchmark Report. Raises Refused if `reports` cannot be written."""
    if reports is None:
        return
    record = Record.load(folder).without_secrets()
    text = json.dumps(imported.benchmark_report(record), indent=1, ensure_ascii=True)
    try:
        reports.mkdir(parents=True, exist_ok=True)
        (reports / f"{imported.REPORTS}_v0.2_{record.run_key}.json").write_text(text + "\n", "utf-8")
    except OSError as error:
        raise Refused(f"reports={reports}: cannot write there: {error.strerror or error}") from error


def _source(file: Path, chosen: Options) -> imported.Source:
    return imported.Source(
        facts=imported.match_path(file.as_posix(), chosen.pattern),
        modified=datetime.fromtimestamp(file.stat().st_mtime, timezone.utc),
        experiment=chosen.experiment,
        beside=_read_beside(file),
    )


def _read_beside(file: Path) -> dict[str, list[Mapping[str, Any]]]:
    """The entries of files in the same folder that say more of its results. Raises NotAResult."""
    paths = [path for name in imported.BESIDE if (path := file.with_name(name)).is_file()]
    return {path.name: imported.parse_results(path.read_text("utf-8")) for path in paths}


@cache
def _catalogue() -> imported.Catalogue:
    return imported.Catalogue(compose.known_models(), compose.known_gpus())


def _is_candidate(file: Path) -> bool:
    """Whether a file below a path is a record or an archive of some, or may be a result of another tool."""
    if is_archive(file):
        return not _is_stored_copy(file) and holds_records(file)
    result = file.suffix in SUFFIXES or (file.suffix in YAML and file.name.startswith(imported.REPORTS))
    if not result or file.name in imported.NO_RESULTS or _is_stored_copy(file):
        return False
    return file.name == RECORD or not _is_vbench_folder(file.parent)


@cache
def _is_vbench_folder(folder: Path) -> bool:
    """Whether vbench wrote this folder, for a run or sessions: its other JSON files are not results."""
    below = any(next(folder.glob(f"{depth}{SESSION}"), None) for depth in ("", "*/", "*/*/"))
    return below or (folder / RECORD).exists() or (folder.parent / SESSION).exists()


def _is_stored_copy(file: Path) -> bool:
    """Whether this is the store's own copy of a record."""
    database = tracking.database()
    return database is not None and (database.parent / "artifacts").resolve() in file.resolve().parents


if __name__ == "__main__":
    sys.exit(end_quietly(lambda: main(sys.argv[1:])))
