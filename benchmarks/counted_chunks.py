"""Measures the cost of token counts in every chunk (vLLM's `--enable-force-include-usage`).

    python benchmarks/counted_chunks.py [--num-prompts 64] [--pairs 5] [model=tiny hardware=auto …]

The script starts two real servers from the same overrides, as vbench does, one with the option and one without. The
runs alternate between the servers. Without the option, only the total number of tokens in merged chunks is known, and
ITL divides their time evenly. The table shows the medians over the pairs, and the median of the ratios within them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from agreement import composed, frontend_s  # noqa: E402  benchmarks/agreement.py

from vbench.engine.server import Server, start_replicas  # noqa: E402
from vbench.host import cores  # noqa: E402  the checkout is the package
from vbench.host.leases import HostLease, hold_lease  # noqa: E402
from vbench.loadgen import Load, Workers, choose_count  # noqa: E402
from vbench.metrics.definitions import metrics  # noqa: E402
from vbench.plan.sessions import Session, plan  # noqa: E402
from vbench.workload.prompts import FIRST_ID  # noqa: E402

METRICS = ("frontend_us_per_token", "client_us_per_token", "merged_chunks", "output_throughput", "median_itl_ms",
           "p99_itl_ms")  # fmt: skip
INPUT, OUTPUT = 128, 256


def run(workers: Workers, server: Server, count: int, vocab_size: int) -> dict[str, float]:
    load = Load(
        endpoints=(server.endpoint,),
        prompts=list(np.random.default_rng().integers(FIRST_ID, vocab_size // 2, (count, INPUT), dtype=np.int32)),
        output_len=np.full(count, OUTPUT),
        scheduled=np.zeros(count),
        max_concurrency=None,
        ignore_eos=True,
        timeout_s=3600,
    )
    before = frontend_s(server)
    requests, client = workers.run(load)
    assert not any(requests.error), set(requests.error)
    chunks, tokens = len(requests.chunk_times), int(requests.output_tokens.sum())
    return metrics(requests) | {
        "frontend_us_per_token": (frontend_s(server) - before) / tokens * 1e6,
        "client_us_per_token": client.cpu_s / tokens * 1e6,
        "merged_chunks": (tokens - chunks) / tokens,
    }


Pair = tuple[dict[str, float], dict[str, float]]  # with, without


async def measure(sessions: list[Session], share: HostLease, count: int, pairs: int) -> list[Pair]:
    processes = choose_count(count, len(share.cores))
    server_cores, client_cores = cores.split_servers_and_client(share.cores, not sessions[0].hardware.gpus, processes)
    share, vocab = dataclasses.replace(share, cores=server_cores), sessions[0].model.vocab_size
    async with contextlib.AsyncExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in sessions]
        stack.enter_context(cores.pin_to_cores(client_cores))
        workers = stack.enter_context(Workers(processes))
        servers = [
            (await stack.enter_async_context(start_replicas(session, share, folder)))[0]
            for session, folder in zip(sessions, folders, strict=True)
        ]

        def both(turn: int) -> Pair:
            found = {side: run(workers, servers[side], count, vocab) for side in (turn % 2, (turn + 1) % 2)}
            return found[0], found[1]

        await asyncio.to_thread(both, 0)  # warm-up, not counted
        return [await asyncio.to_thread(both, turn) for turn in range(pairs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-prompts", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    options, overrides = parser.parse_known_args()
    overrides = ["+engine.env.VLLM_LOGGING_LEVEL=ERROR", *overrides]
    counting = "engine.extra_args=[--enable-force-include-usage]"
    sessions = plan([(composed([*overrides, counting]), ""), (composed(overrides), "")])
    with hold_lease(sessions[0], lambda why: print(f"waits, {why}", file=sys.stderr)) as share:
        found = asyncio.run(measure(sessions, share, options.num_prompts, options.pairs))
    print("| metric | with | without | ratio, median of pairs | least | most |")
    print("|---|---:|---:|---:|---:|---:|")
    for key in METRICS:
        mine, theirs = (statistics.median(pair[side][key] for pair in found) for side in (0, 1))
        ratios = sorted(a[key] / b[key] if b[key] else float("nan") for a, b in found)
        spread = f"{statistics.median(ratios):.3f} | {ratios[0]:.3f} | {ratios[-1]:.3f}"
        print(f"| {key} | {mine:,.3f} | {theirs:,.3f} | {spread} |")


if __name__ == "__main__":
    main()
