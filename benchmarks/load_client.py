"""Compares vbench's load client with `vllm bench serve` on one server with known timing, on the same cores.

    python benchmarks/load_client.py [--streams 64 256 512] [--rounds 3] [--real-time]

The server (tests/fake_vllm.py) sends a token to every stream each 10 ms, or as close to that as the cores allow, and
records when each token left. For each client the table shows:
- tokens/s and TTFT,
- the gaps between tokens as the client measured them (`itl_…`) and as the server sent them (`true_itl_…`), and the
  distance between the two p99,
- the CPU time of the client's processes per token, from the first request to the last token, without imports,
- the skew: from the time a token left the server to the arrival time that the client reports.
The clients run in turns, and each figure is the median over the rounds. If vllm is not installed, only vbench is
measured. On a host with other work, `--real-time` (root only) runs the server and all clients at one real-time priority
above that work.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.fake_vllm import running  # noqa: E402  the checkout is the package
from vbench.loadgen import Endpoint, Load, Workers  # noqa: E402

TOKENS = 200
PROMPT = 32
TICK_S = 0.01


@dataclass(frozen=True)
class Found:
    """One run as the client reports it; skew and true ITL use the server's timestamps."""

    tokens_per_s: float
    itl_p50_ms: float
    true_itl_p50_ms: float
    itl_p99_ms: float
    true_itl_p99_ms: float
    itl_p99_error_ms: float
    ttft_p50_ms: float
    cpu_us_per_token: float
    skew_p50_ms: float
    skew_p99_ms: float


def found(arrivals: list[np.ndarray], first_send: float, cpu_s: float, base_url: str) -> Found:
    """`arrivals` holds one array per request, in request order: its tokens' arrival times in s on CLOCK_MONOTONIC."""
    with urllib.request.urlopen(f"{base_url}/fake/stamps") as reply:
        stamps = json.load(reply)
    left = [np.array(stamps[str(index)]) / 1e9 for index in range(len(arrivals))]
    skew = np.concatenate(arrivals) - np.concatenate(left)
    gaps = np.concatenate([np.diff(times) for times in arrivals])
    true_gaps = np.concatenate([np.diff(times) for times in left])
    p99, true_p99 = np.percentile(gaps, 99) * 1e3, np.percentile(true_gaps, 99) * 1e3
    tokens = sum(len(times) for times in arrivals)
    return Found(
        tokens_per_s=tokens / (max(times[-1] for times in arrivals) - first_send),
        itl_p50_ms=np.percentile(gaps, 50) * 1e3,
        true_itl_p50_ms=np.percentile(true_gaps, 50) * 1e3,
        itl_p99_ms=p99,
        true_itl_p99_ms=true_p99,
        itl_p99_error_ms=abs(p99 - true_p99),
        ttft_p50_ms=statistics.median(times[0] - first_send for times in arrivals) * 1e3,
        cpu_us_per_token=cpu_s / tokens * 1e6,
        skew_p50_ms=np.percentile(skew, 50) * 1e3,
        skew_p99_ms=np.percentile(skew, 99) * 1e3,
    )


# --------------------------------------------------------------------------------------------------------------- vbench


def by_vbench(workers: Workers, base_url: str, streams: int) -> Found:
    load = Load(
        endpoints=(Endpoint(base_url, "fake"),),
        prompts=[np.arange(index, index + PROMPT, dtype=np.int32) for index in range(streams)],
        output_len=np.full(streams, TOKENS),
        scheduled=np.zeros(streams),
        max_concurrency=None,
        ignore_eos=True,
        timeout_s=300,
    )
    requests, client = workers.run(load)
    assert not any(requests.error), set(requests.error)
    arrivals = np.split(requests.chunk_times + client.started_at_monotonic_s, requests.offsets[1:-1])
    return found(arrivals, float(requests.sent.min()) + client.started_at_monotonic_s, client.cpu_s, base_url)


# ----------------------------------------------------------------------------------------------------- vllm bench serve


def by_vllm(base_url: str, streams: int) -> Found:
    """Runs `run_vllm` below in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--run-vllm", folder, base_url, str(streams)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(ran.stdout + ran.stderr)
        told = json.loads(Path(folder, "result.json").read_text())
        cpu_s = json.loads(Path(folder, "cpu.json").read_text())
    columns = zip(told["start_times"], told["ttfts"], told["itls"], strict=True)
    arrivals = [start + ttft + np.cumsum([0.0, *itls]) for start, ttft, itls in columns]
    return found(arrivals, min(told["start_times"]), cpu_s, base_url)


def run_vllm(folder: str, base_url: str, streams: int) -> None:
    """Runs `vllm bench serve` through its own main and arguments, and reads the CPU clock around its requests."""
    from vllm.benchmarks import serve

    prompts = Path(folder, "prompts.jsonl")
    prompts.write_text("".join(json.dumps({"prompt": f"{i}" + " x" * (PROMPT - 1)}) + "\n" for i in range(streams)))
    write_tokenizer(folder)
    send = serve.ASYNC_REQUEST_FUNCS["openai"]
    cpu: list[float] = []

    async def send_and_look_at_the_cpu_clock(*args: Any, **kwargs: Any) -> Any:
        cpu[:1] = cpu[:1] or [time.process_time()]
        output = await send(*args, **kwargs)
        cpu[1:] = [time.process_time()]
        return output

    serve.ASYNC_REQUEST_FUNCS["openai"] = send_and_look_at_the_cpu_clock
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    serve.main(
        parser.parse_args(
            f"--backend openai --base-url {base_url} --model fake --tokenizer {folder} --dataset-name custom "
            f"--dataset-path {prompts} --disable-shuffle --skip-chat-template --custom-output-len {TOKENS} "
            f"--num-prompts {streams} --ignore-eos --ready-check-timeout-sec 0 --save-result --save-detailed "
            f"--result-dir {folder} --result-filename result.json".split()
        )
    )
    Path(folder, "cpu.json").write_text(json.dumps(cpu[-1] - cpu[0]))


def write_tokenizer(folder: str) -> None:
    """Writes a tokenizer with one token per word: the peer needs one to count its prompts' tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"x": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(folder)


# -------------------------------------------------------------------------------------------------------- rounds, table


def measure(streams: list[int], rounds: int) -> dict[tuple[int, str], list[Found]]:
    results: dict[tuple[int, str], list[Found]] = {}
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(running("--itl-s", str(TICK_S), "--ttft-s", "0.5", "--stamp"))
        one, two = stack.enter_context(Workers(1)), stack.enter_context(Workers(2))
        clients = {
            "vbench, 1 process": lambda count: by_vbench(one, url, count),
            "vbench, 2 processes": lambda count: by_vbench(two, url, count),
        }
        if importlib.util.find_spec("vllm"):
            clients = {"vllm bench serve": lambda count: by_vllm(url, count), **clients}
        for turn in range(rounds):
            for count in streams:
                for name in list(clients)[turn % len(clients) :] + list(clients)[: turn % len(clients)]:
                    results.setdefault((count, name), []).append(clients[name](count))
                    print(f"round {turn + 1}: {count} streams, {name}", file=sys.stderr)
    return results


def table(results: dict[tuple[int, str], list[Found]]) -> str:
    names = [field.name for field in fields(Found)]
    lines = ["| streams | client | " + " | ".join(names) + " |", "|---|---|" + "---:|" * len(names)]
    peers = {}
    for (count, name), runs in sorted(results.items(), key=lambda item: (item[0][0], item[0][1] != "vllm bench serve")):
        medians = [statistics.median(getattr(run, field) for run in runs) for field in names]
        lines.append(f"| {count} | {name} | " + " | ".join(f"{value:,.2f}" for value in medians) + " |")
        peer = peers.setdefault(count, medians) if name == "vllm bench serve" else peers.get(count)
        if peer and peer is not medians:
            ratios = [ours / theirs if theirs else float("nan") for ours, theirs in zip(medians, peer, strict=True)]
            lines.append(
                f"| {count} | its ratio to vllm's | " + " | ".join(f"× {ratio:.2f}" for ratio in ratios) + " |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real-time", action="store_true", help="run server and clients at real-time priority")
    parser.add_argument("--run-vllm", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_vllm:
        folder, base_url, streams = options.run_vllm
        run_vllm(folder, base_url, int(streams))
        return
    if options.real_time:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # processes started from here on inherit it
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before, "
        f"{'real-time' if options.real_time else 'ordinary'} priority; {TOKENS} tokens a stream, 1 each 10 ms"
    )
    print(table(measure(options.streams, options.rounds)))


if __name__ == "__main__":
    main()
