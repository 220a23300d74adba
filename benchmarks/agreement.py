"""Compares the metrics that vbench and `vllm bench serve` report for the same server.

    python benchmarks/agreement.py [--num-prompts 16] [--output-len 256] [--pairs 5] [--save pairs.json] [model=tiny …]

The script starts one real server from the given overrides, as vbench does. A pair is one run by each client, in
alternating order. Both clients send prompts of the same lengths (the client that sends text uses words of one token
each), ask for the same reply lengths, and send all requests at once. The table shows each client's median over the
pairs, and the median of the ratios within the pairs.

If the clients differ, either one of them is wrong or the server served the two runs differently. The table therefore
also shows how the server saw each run (`server_…` from its own histograms; `frontend_us_per_token`, the CPU time of
its API servers) and how the client sent and received it (`send_span_ms`, from the first request to the last;
`tokens_per_chunk`, over all chunks).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from vbench import compose as ours  # noqa: E402  the checkout is the package
from vbench.campaign import launcher  # noqa: E402
from vbench.engine import dummy  # noqa: E402
from vbench.engine.counters import parse_samples  # noqa: E402
from vbench.engine.server import Server, find_cache, start_replicas  # noqa: E402
from vbench.host import cores, cputime  # noqa: E402
from vbench.host.leases import HostLease, hold_lease  # noqa: E402
from vbench.loadgen import Load, Workers, choose_count  # noqa: E402
from vbench.metrics.definitions import metrics  # noqa: E402
from vbench.plan.rules import check_run  # noqa: E402
from vbench.plan.sessions import Session, plan  # noqa: E402
from vbench.schema import RunConfig  # noqa: E402

METRICS = (
    "output_throughput", "median_itl_ms", "median_tpot_ms", "mean_tpot_ms", "server_mean_tpot_ms", "median_ttft_ms",
    "mean_ttft_ms", "server_mean_ttft_ms", "server_mean_queue_ms", "send_span_ms", "tokens_per_chunk",
    "server_tokens_per_step", "frontend_us_per_token", "total_input_tokens",
)  # fmt: skip
INPUT = 128

Metrics = dict[str, float]
Pair = tuple[Metrics, Metrics]  # by vbench, by vllm bench serve

MEANS = {
    "ttft": "vllm:time_to_first_token_seconds",
    "tpot": "vllm:request_time_per_output_token_seconds",
    "queue": "vllm:request_queue_time_seconds",
}
STEPS = "vllm:iteration_tokens_total"


def frontend_s(server: Server) -> float:
    """The CPU seconds that the server's API servers have used since their start."""
    return sum(each.cpu_s for each in cputime.read([server.process.pid]) if each.role == cputime.FRONTEND)


def totals(server: Server) -> defaultdict[str, float]:
    """The server's metrics since its start, with sums and counts of its histograms, and its front end's CPU."""
    found: defaultdict[str, float] = defaultdict(float)
    with urllib.request.urlopen(f"{server.base_url}/metrics") as reply:
        for name, values in parse_samples(reply.read().decode(), ["vllm:"]).items():
            found[name] += sum(values)
    found["frontend_s"] = frontend_s(server)
    return found


def seen_by(server: Server, run: Callable[[], Metrics]) -> Metrics:
    """Runs a load; returns the client's metrics and the server's metrics of the same run."""
    before, began = totals(server), time.time()
    found = run()
    time.sleep(0.2)  # until the server has counted its last step
    after = totals(server)
    grown = {name: after[name] - before[name] for name in after}
    seen = {f"server_mean_{key}_ms": grown[f"{name}_sum"] / grown[f"{name}_count"] * 1e3 for key, name in MEANS.items()}
    tokens = found["total_output_tokens"]
    return found | seen | {
        "began": began,
        "server_tokens_per_step": tokens / grown[f"{STEPS}_count"],
        "frontend_us_per_token": grown["frontend_s"] / tokens * 1e6,
    }  # fmt: skip


def by_vbench(workers: Workers, server: Server, words: np.ndarray, output_len: int) -> Metrics:
    count = len(words)
    load = Load(
        endpoints=(server.endpoint,),
        prompts=list(words),
        output_len=np.full(count, output_len),
        scheduled=np.zeros(count),
        max_concurrency=None,
        ignore_eos=True,
        timeout_s=3600,
    )
    requests, _ = workers.run(load)
    assert not any(requests.error), set(requests.error)
    return metrics(requests) | {
        "send_span_ms": float(np.ptp(requests.sent)) * 1e3,
        "tokens_per_chunk": float(requests.output_tokens.sum()) / len(requests.chunk_times),
    }


class VllmBench:
    """`vllm bench serve` in one process for all runs: its imports take longer than a run, and the host drifts."""

    # The `vllm` command looks up its version under a package name that the CPU build does not have, so call main.
    PROGRAM = """
import argparse, json, sys
from vllm.benchmarks import serve
parser = argparse.ArgumentParser()
serve.add_cli_args(parser)
answers, sys.stdout = sys.stdout, sys.stderr
print("up", file=answers, flush=True)
for line in sys.stdin:
    serve.main(parser.parse_args(json.loads(line)))
    print("done", file=answers, flush=True)
"""

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.hear("up")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def hear(self, word: str) -> None:
        if (heard := self.process.stdout.readline().strip()) != word:
            raise SystemExit(f"vllm bench serve said {heard!r}, not {word!r}")

    def run(self, server: Server, tokenizer: Path, texts: list[str], output_len: int) -> Metrics:
        with tempfile.TemporaryDirectory() as folder:
            prompts = Path(folder, "prompts.jsonl")
            prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
            options = (
                f"--backend openai --base-url {server.base_url} --model {server.served_model_name} "
                f"--tokenizer {tokenizer} --dataset-name custom --dataset-path {prompts} --disable-shuffle "
                f"--skip-chat-template --custom-output-len {output_len} --num-prompts {len(texts)} --ignore-eos "
                f"--temperature 0 --ready-check-timeout-sec 0 --save-result --save-detailed --result-dir {folder} "
                "--result-filename result.json"
            )
            self.process.stdin.write(json.dumps(options.split()) + "\n")
            self.process.stdin.flush()
            self.hear("done")
            found = json.loads(Path(folder, "result.json").read_text())
        chunks = len(texts) + sum(map(len, found["itls"]))
        return {name: value for name, value in found.items() if isinstance(value, int | float)} | {
            "send_span_ms": float(np.ptp(found["start_times"])) * 1e3,
            "tokens_per_chunk": found["total_output_tokens"] / chunks,
        }


def words_and_texts(rng: np.random.Generator, folder: Path, count: int) -> tuple[np.ndarray, list[str]]:
    """Prompts as token ids, shape (count, INPUT), and as texts that the tokenizer encodes to the same ids."""
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    words = {number: word for word, number in vocab.items() if word.startswith("\u0120") and len(word) > 2}
    ids = rng.choice(np.array(sorted(words)), (count, INPUT)).astype(np.int32)
    return ids, ["".join(words[number].replace("\u0120", " ") for number in row) for row in ids.tolist()]


async def measure(session: Session, options: argparse.Namespace) -> dict[int, list[Pair]]:
    """Measures the pairs of each load on one server; saves them after each pair."""
    with hold_lease(session, lambda why: print(f"waits, {why}", file=sys.stderr)) as share:
        return await measure_on(session, share, options)


async def measure_on(session: Session, share: HostLease, options: argparse.Namespace) -> dict[int, list[Pair]]:
    loads, tokens = options.num_prompts, options.output_len
    tokenizer = dummy.materialise(session.model, find_cache())
    processes = choose_count(max(loads), len(share.cores))
    server_cores, client_cores = cores.split_servers_and_client(share.cores, not session.hardware.gpus, processes)
    with (
        tempfile.TemporaryDirectory() as folder,
        cores.pin_to_cores(client_cores),
        Workers(processes) as workers,
        VllmBench() as peer,
    ):
        async with start_replicas(session, dataclasses.replace(share, cores=server_cores), Path(folder)) as (server,):
            print(f"{session.folder}: engine {await server.control.ask_version()} is up", file=sys.stderr)

            def both(load: int, vbench_first: bool) -> Pair:
                ids, _ = words_and_texts(rng, tokenizer, load)
                _, texts = words_and_texts(rng, tokenizer, load)
                sides = [
                    lambda: by_vbench(workers, server, ids, tokens),
                    lambda: peer.run(server, tokenizer, texts, tokens),
                ]
                order = (0, 1) if vbench_first else (1, 0)
                run = {side: seen_by(server, sides[side]) for side in order}
                return run[0], run[1]

            def take(load: int, turn: int) -> None:
                pair = both(load, turn % 2 == 0)
                found[load].append(pair)
                if options.save:
                    options.save.write_text(json.dumps(found, indent=1) + "\n")
                told = ", ".join(f"{key} {pair[0][key]:.2f} / {pair[1][key]:.2f}" for key in METRICS[:2])
                print(f"{load} prompts, pair {turn + 1}: vbench / vllm bench serve: {told}", file=sys.stderr)

            rng = np.random.default_rng(0)
            found: dict[int, list[Pair]] = {load: [] for load in loads}
            await asyncio.to_thread(both, loads[0], True)  # warm-up, not counted
            for turn in range(options.pairs):
                for load in loads:
                    await asyncio.to_thread(take, load, turn)
            return found


def composed(overrides: list[str]) -> RunConfig:
    launcher.register()
    ours.register()
    with initialize_config_dir(str(ours.CONF), version_base="1.3"):
        return check_run(ours.run_config(compose("config", overrides, return_hydra_config=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-prompts", type=int, nargs="+", default=[16])
    parser.add_argument("--output-len", type=int, default=256, help="tokens per reply; 2 shows the cost of requests")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--save", type=Path, help="write the metrics of every pair to this JSON file")
    options, overrides = parser.parse_known_args()
    (session,) = plan([(composed(["+engine.env.VLLM_LOGGING_LEVEL=ERROR", *overrides]), "")])
    found = asyncio.run(measure(session, options))
    print("| num_prompts | metric | vbench | vllm bench serve | ratio, median of pairs | least | most |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for num_prompts, pairs in found.items():
        for key in METRICS:
            mine, theirs = (statistics.median(pair[side][key] for pair in pairs) for side in (0, 1))
            ratios = sorted(pair[0][key] / pair[1][key] if pair[1][key] else float("nan") for pair in pairs)
            spread = f"{statistics.median(ratios):.3f} | {ratios[0]:.3f} | {ratios[-1]:.3f}"
            print(f"| {num_prompts} | {key} | {mine:,.2f} | {theirs:,.2f} | {spread} |")


if __name__ == "__main__":
    main()
