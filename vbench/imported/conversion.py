"""A result of another tool to a record."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import vbench
from vbench.engine import serverlog
from vbench.imported import flaws, samples, tools
from vbench.imported.catalogue import Catalogue
from vbench.imported.conditions import NAMES, OPTIONS, conditions
from vbench.imported.files import NotAResult, Result
from vbench.imported.tools.translation import Beside, Translation
from vbench.metrics import definitions
from vbench.plan.naming import split_name
from vbench.schema import Gpu, Hardware, Parallelism, RunConfig
from vbench.schema.record import Failure, Reason, Record, Requests
from vbench.schema.serialisation import find_misfit

DATE = "%Y%m%d-%H%M%S"
MEASURED = {"duration", "completed", "output_throughput"}  # what every result of a load has
METRIC = re.compile(
    r"duration|completed|failed|total_\w+_tokens|\w+_throughput|request_goodput|max_concurrent_requests|"
    r"max_output_tokens_per_s|(mean|median|std|p[\d.]+)_(?P<family>\w+)_ms|(probe|spec_decode|diffusion)_\w+"
)
OF_EACH_REPLY = {"empty", "longest_reply_gap_ms", "paused_replies"}  # have no family, and need no instants
OF_THE_CLOCK = {  # need instants, not only lengths
    *("peak_concurrent_requests", "steady_duration", "steady_output_throughput", "longest_stall_ms"),
    *(f"longest_{cause}_stall_ms" for cause in ("compile", "prefill", "unexplained")),
}
OVERRIDES = ("serve_overrides", "bench_overrides")  # in a sweep's failures; its results have them among their fields
ABOUT = ("backend", "tokenizer_id", "label", "date", "_benchmark_name", "run_number")
NOT_AN_OPTION = {
    *ABOUT,
    *OVERRIDES,
    *samples.ARRAYS,
    *("endpoint_type", "model_id", "error_type", "error", "reason", "generated_texts", "rps_change_events", "rtfx"),
    *("server_queue_times", "server_ttfts"),  # of vLLM 0.33 on: what the server said of each request
}
ANOTHER_MEANING = {"max_concurrent_requests": "vllm_max_concurrent_requests"}  # ours are older records' peaks
NO_RESULT = (
    "JSON, but no result of vLLM's benchmark (it has no duration, completed and output_throughput), nor of another "
    "tool in --help"
)
WARM_UP = -1  # the run_number that a sweep gives its warm-up


@dataclass(frozen=True)
class Source:
    """What is known of a result besides its text, and where it goes."""

    facts: Mapping[str, str]  # what its path states, under the names of `conditions`
    modified: datetime  # when the file was written last, with its time zone
    experiment: str
    beside: Beside = field(default_factory=dict)  # the files of `tools.BESIDE` in the result's folder


@dataclass(frozen=True)
class Imported:
    """A record, and its requests if the result has arrays."""

    record: Record
    requests: Requests | None = None


def convert_all(result: Result, source: Source, catalogue: Catalogue) -> list[Imported]:
    """The records of a result of any tool; none of a sweep's warm-up. Raises NotAResult."""
    try:
        entries = tools.translate(result, source.beside)
        if entries:
            return [_convert_translation(entry, source, catalogue) for entry in entries]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, ZeroDivisionError) as error:
        raise NotAResult(f"not as its tool writes it: {type(error).__name__}: {error}") from error
    found = convert(result, source, catalogue)
    return [found] if found else []


def _convert_translation(entry: Translation, source: Source, catalogue: Catalogue) -> Imported:
    date = {"date": entry.ended.astimezone(timezone.utc).strftime(DATE)} if entry.ended else {}
    result = {**entry.result, **date, "tool": entry.tool}  # a condition: tools measure differently
    about = _describe(result, source, catalogue) | {"run_key": _hash([result, entry.metrics, source.facts])}
    warnings = [*about.pop("warnings"), *entry.warnings]
    failed = flaws.find_failed(result)  # of a file that lacks a duration nothing else can be judged
    invalid = flaws.invalid(result) if result.keys() >= MEASURED else [failed] if failed else []
    found = _metrics(result, None) | entry.metrics
    return Imported(Record(**about, metrics=found, warnings=warnings, invalid=invalid))


def convert(result: Result, source: Source, catalogue: Catalogue) -> Imported | None:
    """The record of a result; None for a sweep's warm-up, which is no measurement. Raises NotAResult."""
    if result.get("run_number") == WARM_UP:
        return None
    written, result = result, {str(key).rstrip(":"): value for key, value in result.items()}  # old: `request_goodput:`
    try:
        about = _describe(result, source, catalogue) | {"run_key": _hash([written, source.facts])}
        if result.keys() >= MEASURED:
            return _convert_measured(result, about)
        if reason := result.get("reason") or result.get("error"):
            return Imported(Record(**about, failure=_failure(str(reason))))
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise NotAResult(f"not as vLLM writes it: {error}") from error
    raise NotAResult(NO_RESULT)


def _describe(result: Result, source: Source, catalogue: Catalogue) -> dict[str, Any]:
    """The fields of a record that do not depend on what was measured, except its key."""
    fields = _fields(result)
    facts = {**source.facts, **_stated_conditions(fields)}
    if not facts.get("model"):
        raise NotAResult("neither it nor its path says which model; pattern='…(?P<model>…)' can find it there")
    config = conditions(facts, _extra(fields), catalogue) | {"experiment": source.experiment}
    config.setdefault("workload", {})  # each record has one
    if misfit := find_misfit(RunConfig, config):
        raise NotAResult(f"not as its tool writes it: {misfit}")
    return _record_fields(result, source, facts, config)


def _convert_measured(result: Result, about: dict[str, Any]) -> Imported:
    requests = samples.requests(result)
    warnings = [*about.pop("warnings"), *flaws.warnings(result, requests)]
    found = {key: value for key, value in _metrics(result, requests).items() if math.isfinite(value)}
    return Imported(Record(**about, metrics=found, warnings=warnings, invalid=flaws.invalid(result)), requests)


def _failure(reason: str) -> Failure:
    found = serverlog.diagnose(reason, returncode=1)
    if found.line not in reason:  # it was derived from how a process ended, and here none has
        return Failure("engine_error", " ".join(reason.split()))
    return Failure(found.kind, found.line)


def _record_fields(result: Result, source: Source, facts: Mapping[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that do not depend on what was measured."""
    place = [config["model"]["name"], *_system(config)]
    ended = _date(result) or source.modified  # vLLM writes its date when the load has ended
    return {
        "session": "-".join([*place, _hash(config.get("engine", {}))[:8]]),
        "name": " · ".join([*place, *_load(config.get("workload", {}))]),
        "experiment": source.experiment,
        "started_at": (ended - timedelta(seconds=float(result.get("duration", 0)))).isoformat(),
        "ended_at": ended.isoformat(),
        "config": config,
        "environment": _environment(result, facts, config),
        "warnings": _doubts(result, source, facts),
        "source": "imported",
    }


def _fields(result: Result) -> dict[str, Any]:
    """All fields of a result, options under vLLM's argument names: a sweep writes them with dashes or underscores."""
    overrides = {key: value for part in OVERRIDES for key, value in (result.get(part) or {}).items()}
    return {str(key).replace("-", "_"): value for key, value in {**result, **overrides}.items()}


def _stated_conditions(fields: Mapping[str, Any]) -> dict[str, Any]:
    # Null is a value of an option (no limit); elsewhere it states nothing.
    known = {key: fields[key] for key in NAMES if key in fields}
    if "num_prompts" in known and (sent := flaws.count_sent(fields)) is not None:
        known["num_prompts"] = sent
    stated = {key: value for key, value in known.items() if value is not None or key in OPTIONS}
    return stated | ({"model": fields["model_id"]} if "model_id" in fields else {})


def _extra(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a sweep that our schema has no field for; kept so that unlike runs do not look alike."""
    if not fields.keys() & {"run_number", *OVERRIDES}:
        return {}
    known = NOT_AN_OPTION | NAMES
    return {key: value for key, value in fields.items() if key not in known and not METRIC.fullmatch(key)}


def _metrics(result: Result, requests: Requests | None) -> dict[str, float]:
    """The numbers that the file gives, and what its arrays add to them."""
    none = set(flaws.find_unsampled(result))
    numbers = {
        ANOTHER_MEANING.get(key, key): float(value)
        for key, value in result.items()
        if METRIC.fullmatch(key) and _finite(value)
    }
    numbers = {key: value for key, value in numbers.items() if _family(key) not in none}
    given = flaws.drop_other_definitions(numbers, result, requests)
    found = samples.compute_statistics(result) if requests is None else definitions.metrics(requests)
    # Only whole families: their median beside our p90 would follow two definitions.
    given_families = {None, *map(_family, given)} | (set() if result.get("queue_times") else {"queue"})
    others = OF_EACH_REPLY | (OF_THE_CLOCK if samples.has_send_times(result) else set())
    added = {key: value for key, value in found.items() if key in others or _family(key) not in given_families}
    return added | given


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _family(key: str) -> str | None:
    match = METRIC.fullmatch(key)
    return match["family"] if match else None


def _doubts(result: Result, source: Source, facts: Mapping[str, Any]) -> list[Reason]:
    """What is uncertain about the conditions."""
    undated = Reason("undated", "the file has no date; the time of its last change is used instead")
    doubts = [] if _date(result) else [undated]
    for key, word in source.facts.items():
        if key in OPTIONS and not _same(word, facts[key]):
            sentence = f"{key} is {word} by the path but {facts[key]} by the file; the file's value is used"
            doubts.append(Reason("path_disagrees", sentence))
    return doubts


def _same(word: str, value: Any) -> bool:
    try:
        return float(word) == float(value)
    except (TypeError, ValueError):
        return word == str(value)


def _environment(result: Result, facts: Mapping[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    # Neither path nor time of reading: the record of a file is the same wherever it lies, so it is filed once.
    about = {key.lstrip("_"): result[key] for key in ABOUT if result.get(key) is not None}
    words = {key: value for key, value in result.items() if isinstance(value, str)}
    metadata = {key: value for key, value in words.items() if key not in NOT_AN_OPTION | NAMES}
    version = {"engine": facts["engine_version"]} if "engine_version" in facts else {}
    devices = {"gpus": gpus} if (gpus := _devices(facts, config)) else {}
    return {"vbench": vbench.__version__, **devices, **version, **about, "metadata": metadata}


def _devices(facts: Mapping[str, Any], config: dict[str, Any]) -> list[str]:
    """The product names of the GPUs, unless conf/ knows them under a name of its own."""
    known = "memory_mib" in config.get("hardware", {}).get("gpu", {})
    return [] if known or "gpu" not in facts else [str(facts["gpu"])] * int(facts.get("gpus", 1))


def _system(config: Mapping[str, Any]) -> list[str]:
    """The names of the hardware and the parallelism, if known."""
    hardware, split = config.get("hardware"), config.get("parallelism")
    named = [Hardware(gpus=hardware["gpus"], gpu=Gpu(name=hardware["gpu"]["name"])).name] if hardware else []
    return named + ([split_name(Parallelism(**split))] if split else [])


def _load(workload: Mapping[str, Any]) -> list[str]:
    shorts = {"n": "num_prompts", "r": "request_rate", "c": "max_concurrency"}
    words = [f"{short}{workload[key]:g}" for short, key in shorts.items() if workload.get(key) not in (None, "inf")]
    return [" ".join(words)] if words else []


def _date(result: Result) -> datetime | None:
    """The file's date, taken as UTC because it names no time zone."""
    try:
        return datetime.strptime(str(result.get("date")), DATE).replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
