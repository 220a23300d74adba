"""Compares seven load clients on one server with known timing, on the same cores.

    python benchmarks/peers.py [--streams 16 128] [--rounds 1] [--only guidellm,vbench]

The server (tests/fake_vllm.py) answers after 50 ms and then sends each stream a token every 10 ms, or as close to that
as the cores allow; it notes when each request came and each token left. Each client keeps `streams` requests in flight
until twice as many are answered, 200 tokens each, with its own defaults otherwise. The table shows what each client
reports as a ratio to what the server noted in the same run (1.00: true), and the wall time of the whole command. The
clients run in turns, each on a server of its own; a figure is the median over the rounds. Each tool but vbench and vLLM
is installed into an environment of its own (benchmarks/environments.py), some of several GB, when first asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from environments import program  # noqa: E402

from tests.fake_vllm import running  # noqa: E402  the checkout is the package
from vbench.schema.record import is_aside  # noqa: E402

PROMPT, TOKENS, TTFT_S, ITL_S = 64, 200, 0.05, 0.01
LIMIT_S = 300
WORDS = 2000  # of the tokenizer: one token each


@dataclass(frozen=True)
class Load:
    """What a client is asked to do."""

    url: str
    streams: int
    requests: int
    folder: Path  # for its files
    tokenizer: Path


@dataclass(frozen=True)
class Numbers:
    """Medians in ms, tokens a second."""

    itl_ms: float
    ttft_ms: float
    tokens_per_s: float


Read = Callable[[Load], Numbers]


# --------------------------------------------------------------------------------------- each client: command, result


def vbench(load: Load) -> tuple[list[str], Read]:
    words = [
        "engine=openai", f"engine.base_url={load.url}", "hardware=remote", "model=tiny", "workload=random",
        f"workload.num_prompts={load.requests}", f"workload.max_concurrency={load.streams}",
        f"workload.input_len={PROMPT}", f"workload.output_len={TOKENS}",
    ]  # fmt: skip

    def read(load: Load) -> Numbers:
        # It measures again where the client lagged, and puts the first record aside.
        (record,) = (path for path in load.folder.glob("multirun/*/*/*/record.json") if not is_aside(path.parent))
        found = json.loads(record.read_text())["metrics"]
        return Numbers(found["median_itl_ms"], found["median_ttft_ms"], found["output_throughput"])

    return [sys.executable, "-m", "vbench", *words], read


def vllm(load: Load) -> tuple[list[str], Read]:
    main = (
        "import argparse; from vllm.benchmarks import serve; parser = argparse.ArgumentParser(); "
        "serve.add_cli_args(parser); serve.main(parser.parse_args())"
    )
    words = (
        f"--backend vllm --base-url {load.url} --model fake --tokenizer {load.tokenizer} --dataset-name random "
        f"--random-input-len {PROMPT} --random-output-len {TOKENS} --ignore-eos --num-prompts {load.requests} "
        f"--max-concurrency {load.streams} --save-result --result-dir {load.folder} --result-filename result.json"
    )

    def read(load: Load) -> Numbers:
        found = json.loads((load.folder / "result.json").read_text())
        return Numbers(found["median_itl_ms"], found["median_ttft_ms"], found["output_throughput"])

    return [sys.executable, "-c", main, *words.split()], read


def guidellm(load: Load) -> tuple[list[str], Read]:
    words = [
        "run", "--backend", f"kind=openai_http,target={load.url},model=fake",
        "--tokenizer", f"kind=hf_auto,model={load.tokenizer}",
        "--profile", f"kind=concurrent,streams={load.streams}",
        "--constraint", f"kind=max_requests,count={load.requests}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={TOKENS}",
        "--output", f"kind=json,path={load.folder / 'result.json'}", "--disable-console",
    ]  # fmt: skip

    def read(load: Load) -> Numbers:
        (found,) = json.loads((load.folder / "result.json").read_text())["benchmarks"]
        metrics = found["metrics"]
        return Numbers(
            metrics["inter_token_latency_ms"]["successful"]["median"],
            metrics["time_to_first_token_ms"]["successful"]["median"],
            metrics["output_tokens_per_second"]["successful"]["mean"],
        )

    return [program("guidellm==0.8.1", "guidellm"), *words], read


def aiperf(load: Load) -> tuple[list[str], Read]:
    words = (
        f"profile -m fake -u {load.url} --endpoint-type completions --streaming --tokenizer {load.tokenizer} "
        f"--isl {PROMPT} --osl {TOKENS} --concurrency {load.streams} --request-count {load.requests} "
        f"--extra-inputs ignore_eos:true --artifact-dir {load.folder} --ui none"
    )

    def read(load: Load) -> Numbers:
        (path,) = load.folder.rglob("profile_export_aiperf.json")
        found = json.loads(path.read_text())
        return Numbers(
            found["inter_token_latency"]["p50"],
            found["time_to_first_token"]["p50"],
            found["output_token_throughput"]["avg"],
        )

    return [program("aiperf==0.13.0", "aiperf"), *words.split()], read


def inference_perf(load: Load) -> tuple[list[str], Read]:
    lengths = {"mean": PROMPT, "min": PROMPT, "max": PROMPT, "std_dev": 0, "total_count": load.requests}
    config = {
        "api": {"type": "completion", "streaming": True},
        "server": {"type": "vllm", "model_name": "fake", "base_url": load.url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": str(load.tokenizer)},
        "data": {
            "type": "random",
            "input_distribution": lengths,
            "output_distribution": lengths | {"mean": TOKENS, "min": TOKENS, "max": TOKENS},
        },
        "load": {
            "type": "concurrent",
            "stages": [{"num_requests": load.requests, "concurrency_level": load.streams}],
        },
        "storage": {"local_storage": {"path": str(load.folder / "reports")}},
    }
    (load.folder / "config.yaml").write_text(json.dumps(config))  # YAML takes JSON

    def read(load: Load) -> Numbers:
        path = next(load.folder.rglob("stage_0_lifecycle_metrics.json"))
        found = json.loads(path.read_text())["successes"]
        return Numbers(
            1e3 * found["latency"]["inter_token_latency"]["median"],
            1e3 * found["latency"]["time_to_first_token"]["median"],
            found["throughput"]["output_tokens_per_sec"],
        )

    command = program("inference-perf==0.7.0", "inference-perf")
    return [command, "--config_file", str(load.folder / "config.yaml")], read


def evalscope(load: Load) -> tuple[list[str], Read]:
    words = (
        f"perf --api openai --url {load.url}/v1/completions --model fake --tokenizer-path {load.tokenizer} "
        f"--dataset random --prefix-length 0 --min-prompt-length {PROMPT} --max-prompt-length {PROMPT} "
        f"--parallel {load.streams} --number {load.requests} --min-tokens {TOKENS} --max-tokens {TOKENS} --stream "
        f"--outputs-dir {load.folder}"
    )

    def read(load: Load) -> Numbers:
        summary = json.loads(next(load.folder.rglob("benchmark_summary.json")).read_text())
        rows = {
            row["Percentiles"]: row
            for row in json.loads(next(load.folder.rglob("benchmark_percentile.json")).read_text())
        }
        middle = rows["50%"]
        return Numbers(
            _first(middle, "ITL (s)", "ITL (ms)"), _first(middle, "TTFT (s)", "TTFT (ms)"),
            next(value for key, value in summary.items() if key.lower().startswith("output throughput")),
        )  # fmt: skip

    return [program("evalscope[perf]==1.14.1", "evalscope"), *words.split()], read


def genai_bench(load: Load) -> tuple[list[str], Read]:
    words = [
        "benchmark", "--api-backend", "vllm", "--api-base", load.url, "--api-key", "none", "--api-model-name", "fake",
        "--model-tokenizer", str(load.tokenizer), "--task", "text-to-text",
        "--traffic-scenario", f"D({PROMPT},{TOKENS})", "--num-concurrency", str(load.streams),
        "--max-requests-per-run", str(load.requests), "--max-time-per-run", "5",
        "--additional-request-params", '{"ignore_eos": true}', "--experiment-base-dir", str(load.folder),
    ]  # fmt: skip

    def read(load: Load) -> Numbers:
        path = next(path for path in load.folder.rglob("D*.json"))
        found = json.loads(path.read_text())["aggregated_metrics"]
        return Numbers(
            1e3 * found["stats"]["tpot"]["p50"],
            1e3 * found["stats"]["ttft"]["p50"],
            found["mean_output_throughput_tokens_per_s"],
        )

    return [program("genai-bench==0.0.5", "genai-bench"), *words], read


CLIENTS = {
    "vbench": vbench,
    "vllm bench serve": vllm,
    "guidellm": guidellm,
    "aiperf": aiperf,
    "inference-perf": inference_perf,
    "evalscope": evalscope,
    "genai-bench": genai_bench,
}


def _first(row: dict[str, Any], in_s: str, in_ms: str) -> float:
    return float(row[in_ms]) if in_ms in row else 1e3 * float(row[in_s])


# --------------------------------------------------------------------------------------------------- rounds and table


def measure(name: str, streams: int) -> tuple[Numbers, Numbers, float]:
    """What the client reports, what the server noted, and the seconds that the whole command took."""
    flags = ("--ttft-s", str(TTFT_S), "--itl-s", str(ITL_S), "--stamp", "--served-model-name", "fake")
    with tempfile.TemporaryDirectory() as place, running(*flags) as url:
        load = Load(url, streams, 2 * streams, Path(place), Path(place) / "tokenizer")
        write_tokenizer(load.tokenizer)
        command, read = CLIENTS[name](load)
        quiet = {"HF_HUB_OFFLINE": "1"} if name != "aiperf" else {}  # aiperf then refuses a tokenizer's folder
        env = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "", **quiet} if name == "vbench" else {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, **quiet
        }  # fmt: skip
        began = time.monotonic()
        ran = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        took = time.monotonic() - began
        with urllib.request.urlopen(f"{url}/fake/streams") as reply:
            streams_noted = json.load(reply)
        try:
            return read(load), true_numbers(streams_noted, load.requests), took
        except (OSError, LookupError, ValueError, StopIteration, TypeError) as error:
            printed = (ran.stdout + ran.stderr)[-1500:]
            raise RuntimeError(f"{name}: {error!r}, exit code {ran.returncode}\n{printed}") from error


def true_numbers(streams: list[tuple[int, list[int]]], requests: int) -> Numbers:
    """The same numbers by the server's stamps, of the last so many streams that brought all tokens.

    Warm-ups and test requests come before them.
    """
    whole = [(came, np.array(left)) for came, left in streams if len(left) == TOKENS][-requests:]
    ends = max(left[-1] for _, left in whole)
    return Numbers(
        float(np.median(np.concatenate([np.diff(left) for _, left in whole]))) / 1e6,
        statistics.median(float(left[0] - came) for came, left in whole) / 1e6,
        1e9 * TOKENS * len(whole) / float(ends - min(came for came, _ in whole)),
    )


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of which each word is one token: the tools need one to make and count their prompts."""
    folder.mkdir()
    vocab = {word: place for place, word in enumerate(["?", "word", *(f"w{n}" for n in range(WORDS))])}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "?"}
    parts = {"normalizer": None, "post_processor": None, "decoder": None, "truncation": None, "padding": None}
    whole = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model, **parts}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "?", "model_max_length": 100_000}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def table(results: dict[tuple[int, str], list[tuple[Numbers, Numbers, float]]]) -> str:
    lines = ["| streams | client | median ITL | median TTFT | tokens/s | true TTFT ms | true tokens/s | wall s |",
             "|---:|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for (streams, name), runs in sorted(results.items(), key=lambda each: each[0][0]):

        def ratio(key: str, runs: Any = runs) -> str:
            return f"× {statistics.median(getattr(told, key) / getattr(true, key) for told, true, _ in runs):.2f}"

        ttft, rate = (
            statistics.median(getattr(true, key) for _, true, _ in runs) for key in ("ttft_ms", "tokens_per_s")
        )
        wall = statistics.median(took for *_, took in runs)
        ratios = " | ".join(map(ratio, ("itl_ms", "ttft_ms", "tokens_per_s")))
        lines.append(f"| {streams} | {name} | {ratios} | {ttft:.1f} | {rate:,.0f} | {wall:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CLIENTS))
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before; {TOKENS} tokens a stream, 1 each 10 ms"
    )
    results: dict[tuple[int, str], list[tuple[Numbers, Numbers, float]]] = {}
    for turn in range(options.rounds):
        for streams in options.streams:
            for name in options.only:
                try:
                    results.setdefault((streams, name), []).append(measure(name, streams))
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    print(error, file=sys.stderr)
                print(f"round {turn + 1}: {streams} streams, {name}", file=sys.stderr)
    print(table({key: runs for key, runs in results.items() if runs}))
    print(f"load average {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
