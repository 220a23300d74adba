"""The load clients of conversation_peers.py: how each is told the load, and what it reports of its run."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from environments import program

from vbench.schema.record import REQUESTS as REQUESTS_FILE
from vbench.schema.record import Requests, is_aside

# Lengths are such that a few tokens more, as of a chat template, fill no block of the cache more.
SESSIONS, TURNS, NEXT, THINK_S = 8, 4, 70, 1.0  # all sessions begin at once; each turn adds NEXT tokens
GROUPS, PREFIX, SUFFIX, REQUESTS, AT_ONCE = 6, 270, 60, 48, 4
REPLY = 32
SEED = 11


@dataclass(frozen=True)
class Load:
    """What a client is asked to do."""

    url: str
    model: str  # as the server names it
    folder: Path  # for the client's files
    tokenizer: Path


@dataclass
class Told:
    """What a client says of its run; None and empty where it says nothing."""

    requests: int  # all that it measured, also what it put aside and measured again
    hit_share: float | None = None
    ttft_ms: dict[int, float] = field(default_factory=dict)  # median by turn, from 0
    mean_ttft_ms: float = float("nan")
    waits_s: list[float] = field(default_factory=list)  # from a reply's end to the next turn's start


Client = tuple[list[str], Callable[[Load], Told]]


@dataclass(frozen=True)
class Request:
    """A request as a client reports it, times in seconds."""

    session: Any
    turn: int
    start: float
    end: float
    ttft_s: float


def tell(requests: Iterable[Request], hit_share: float | None) -> Told:
    """What these requests say together."""
    every = list(requests)
    by_turn, sessions = defaultdict(list), defaultdict(list)
    for each in every:
        by_turn[each.turn].append(each.ttft_s * 1e3)
        sessions[each.session].append(each)
    waits = []
    for turns in sessions.values():
        turns.sort(key=lambda each: each.start)
        waits += [after.start - before.end for before, after in itertools.pairwise(turns)]
    return Told(
        len(every),
        hit_share,
        {turn: statistics.median(found) for turn, found in sorted(by_turn.items())},
        statistics.fmean(each.ttft_s for each in every) * 1e3,
        waits if len(by_turn) > 1 else [],
    )


# -------------------------------------------------------------------------------------------------------------- vbench


def vbench(load: Load, kind: str, *more: str) -> Client:
    sharing = {
        "conversations": [
            "workload=conversations", "workload.sessions=null", "workload.session_rate=1000",
            f"workload.num_prompts={SESSIONS * TURNS}", f"workload.conversations.turns={TURNS}",
            f"workload.conversations.first_len={NEXT}", f"workload.conversations.next_len={NEXT}",
            f"workload.conversations.think_time_s={THINK_S}",
        ],
        "prefix": [
            "workload=prefix", f"workload.num_prompts={REQUESTS}", f"workload.max_concurrency={AT_ONCE}",
            f"workload.prefix.groups={GROUPS}", f"workload.prefix.prefix_len={PREFIX}",
            f"workload.prefix.suffix_len={SUFFIX}",
        ],
    }  # fmt: skip
    words = ["engine=openai", f"engine.base_url={load.url}", "hardware=remote", "model=tiny"]

    def read(load: Load) -> Told:
        every = list(load.folder.glob("multirun/*/*/*/record.json"))
        (path,) = (path for path in every if not is_aside(path.parent))
        measured_again = sum(len(Requests.load(path.parent / REQUESTS_FILE)) for path in every if is_aside(path.parent))
        found, sent = json.loads(path.read_text())["metrics"], Requests.load(path.parent / REQUESTS_FILE)
        first = sent.chunk_times[sent.offsets[:-1]]
        rows = zip(sent.session.tolist(), sent.turn.tolist(), sent.sent, sent.finished, first - sent.sent, strict=True)
        told = tell((Request(*row) for row in rows), found["prefix_hits_measured"])
        return replace(told, requests=told.requests + measured_again)

    command = [sys.executable, "-m", "vbench", *words, *sharing[kind], f"workload.output_len={REPLY}", *more]
    return command, read


def vbench_chat(load: Load, kind: str) -> Client:
    return vbench(load, kind, "engine.chat=true")


# --------------------------------------------------------------------------------------------------- vllm bench serve


def vllm(load: Load, kind: str) -> Client | None:
    if kind == "conversations":
        return None  # its multi-turn benchmark is a script of vLLM's repository, which no wheel has
    main = (
        "import argparse; from vllm.benchmarks import serve; parser = argparse.ArgumentParser(); "
        "serve.add_cli_args(parser); serve.main(parser.parse_args())"
    )
    words = (
        f"--backend vllm --base-url {load.url} --model {load.model} --tokenizer {load.tokenizer} "
        f"--dataset-name prefix_repetition --prefix-repetition-prefix-len {PREFIX} "
        f"--prefix-repetition-suffix-len {SUFFIX} --prefix-repetition-num-prefixes {GROUPS} "
        f"--prefix-repetition-output-len {REPLY} --ignore-eos --num-prompts {REQUESTS} --max-concurrency {AT_ONCE} "
        f"--seed {SEED} --save-result --result-dir {load.folder} --result-filename result.json"
    )

    def read(load: Load) -> Told:
        found = json.loads((load.folder / "result.json").read_text())
        return Told(found["completed"], None, {0: found["median_ttft_ms"]}, found["mean_ttft_ms"])

    return [sys.executable, "-c", main, *words.split()], read


# -------------------------------------------------------------------------------------------------------------- aiperf


def aiperf(load: Load, kind: str) -> Client:
    words = (
        f"profile -m {load.model} -u {load.url} --streaming --tokenizer {load.tokenizer} "
        f"--extra-inputs ignore_eos:true --osl {REPLY} --osl-stddev 0 --isl-stddev 0 --random-seed {SEED} "
        f"--artifact-dir {load.folder} --ui none "
    )
    words += {
        "conversations": (
            f"--endpoint-type chat --num-conversations {SESSIONS} --concurrency {SESSIONS} --isl {NEXT} "
            f"--conversation-turn-mean {TURNS} --conversation-turn-stddev 0 "
            f"--conversation-turn-delay-mean {THINK_S * 1e3:.0f} --conversation-turn-delay-stddev 0"
        ),
        "prefix": (
            f"--endpoint-type completions --num-prefix-prompts {GROUPS} --prefix-prompt-length {PREFIX} --isl {SUFFIX} "
            f"--request-count {REQUESTS} --concurrency {AT_ONCE}"
        ),
    }[kind]

    def read(load: Load) -> Told:
        path = next(load.folder.rglob("profile_export.jsonl"))
        found = [json.loads(line) for line in path.read_text().splitlines()]
        cached = sum(_value(each, "usage_prompt_cache_read_tokens") for each in found)
        asked = sum(_value(each, "usage_prompt_tokens") for each in found)
        rows = [(each["metadata"], _value(each, "time_to_first_token") / 1e3) for each in found]
        requests = (
            Request(about["x_correlation_id"], about["turn_index"], about["request_start_ns"] / 1e9,
                    about["request_end_ns"] / 1e9, ttft_s)
            for about, ttft_s in rows
        )  # fmt: skip
        return tell(requests, cached / asked if cached else None)

    return [program("aiperf==0.13.0", "aiperf"), *words.split()], read


def _value(row: dict[str, Any], key: str) -> float:
    return float(row["metrics"].get(key, {"value": 0.0})["value"])


# ------------------------------------------------------------------------------------------------------------ guidellm


def guidellm(load: Load, kind: str) -> Client:
    data = {
        "conversations": f"prompt_tokens={NEXT},turns={TURNS},delay={THINK_S}",
        "prefix": f"prompt_tokens={SUFFIX},prefix_count={GROUPS},prefix_tokens={PREFIX}",
    }[kind]
    api, streams, count = {
        "conversations": ("/v1/chat/completions", SESSIONS, SESSIONS * TURNS),
        "prefix": ("/v1/completions", AT_ONCE, REQUESTS),
    }[kind]
    words = [
        "run", "--backend", f"kind=openai_http,target={load.url},model={load.model},request_format={api}",
        "--tokenizer", f"kind=hf_auto,model={load.tokenizer}",
        "--profile", f"kind=concurrent,streams={streams}", "--constraint", f"kind=max_requests,count={count}",
        "--data", f"kind=synthetic_text,output_tokens={REPLY},{data}",
        "--output", f"kind=json,path={load.folder / 'result.json'}", "--disable-console",
    ]  # fmt: skip

    def read(load: Load) -> Told:
        (found,) = json.loads((load.folder / "result.json").read_text())["benchmarks"]
        requests = (
            Request(each["info"]["conversation_id"], each["info"]["turn_index"], each["request_start_time"],
                    each["request_end_time"], each["time_to_first_token_ms"] / 1e3)
            for each in found["requests"]["successful"]
        )  # fmt: skip
        return tell(requests, None)

    return [program("guidellm==0.8.1", "guidellm"), *words], read


# ------------------------------------------------------------------------------------------------------ inference-perf


def inference_perf(load: Load, kind: str) -> Client:
    def fixed(value: float) -> dict[str, Any]:
        return {"type": "fixed", "min": int(value), "max": max(int(value), 1), "mean": value, "std_dev": 0}

    talks = {
        # Without a system prompt it sends each turn without those before it; a token more fills no block.
        "num_conversations": SESSIONS, "shared_system_prompt_len": 1, "turns_per_conversation": fixed(TURNS),
        "dynamic_system_prompt_len": fixed(0), "input_tokens_per_turn": fixed(NEXT),
        "output_tokens_per_turn": fixed(REPLY), "tool_call_latency_sec": fixed(THINK_S),
    }  # fmt: skip
    groups = {
        "num_groups": GROUPS, "num_prompts_per_group": REQUESTS // GROUPS, "system_prompt_len": PREFIX,
        "question_len": SUFFIX, "output_len": REPLY,
    }  # fmt: skip
    data, count, at_once = {
        "conversations": (
            {"type": "conversation_replay", "conversation_replay": talks}, SESSIONS * TURNS, SESSIONS,
        ),
        "prefix": ({"type": "shared_prefix", "shared_prefix": groups}, REQUESTS, AT_ONCE),
    }[kind]  # fmt: skip
    config = {
        "api": {"type": "completion", "streaming": True},
        "server": {"type": "vllm", "model_name": load.model, "base_url": load.url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": str(load.tokenizer)},
        "data": data,
        "load": {"type": "concurrent", "stages": [{"num_requests": count, "concurrency_level": at_once}]},
        "report": {"request_lifecycle": {"per_request": True}},
        "storage": {"local_storage": {"path": str(load.folder / "reports")}},
    }
    (load.folder / "config.yaml").write_text(json.dumps(config))  # YAML takes JSON

    def read(load: Load) -> Told:
        found = json.loads(next(load.folder.rglob("per_request_lifecycle_metrics.json")).read_text())
        return tell((_read_request(place, each) for place, each in enumerate(found) if not each["error"]), None)

    command = program("inference-perf==0.7.0", "inference-perf")
    return [command, "--config_file", str(load.folder / "config.yaml")], read


def _read_request(place: int, row: dict[str, Any]) -> Request:
    session = row["info"]["extra_info"] or {}
    ttft_s = row["info"]["response_metrics"]["chunk_times"][0] - row["start_time"]
    turn = session.get("chat_round", 1) - 1
    return Request(session.get("user_session", place), turn, row["start_time"], row["end_time"], ttft_s)


CLIENTS = {
    "vbench": vbench,
    "vbench, chat": vbench_chat,
    "vllm bench serve": vllm,
    "aiperf": aiperf,
    "guidellm": guidellm,
    "inference-perf": inference_perf,
}
