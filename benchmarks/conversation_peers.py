"""Conversations and shared prefixes by several load clients on one real server, beside what the server counted.

    python benchmarks/conversation_peers.py [--only vbench+aiperf] [--loads conversations,prefix] [--files FOLDER]

vLLM serves the tiny model on this CPU with prefix caching. Each client (benchmarks/conversation_clients.py) sends the
same load, as far as its options can state it: sessions of turns that all begin at once, or requests in groups that
share a prefix. The cache is emptied before each client. The table shows what a client says of its run beside the
server's own counters of the same run: requests, prompt tokens a request and the share of them that the prefix cache
served; and that share as it follows from the load. Counters do not depend on how busy the host is; times do. Each tool
but vbench and vLLM is installed into an environment of its own (benchmarks/environments.py) when first asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import conversation_clients as stated  # noqa: E402
from agreement import composed  # noqa: E402
from conversation_clients import CLIENTS, Load, Told  # noqa: E402

from vbench.engine import dummy  # noqa: E402  the checkout is the package
from vbench.engine.counters import parse_samples  # noqa: E402
from vbench.engine.server import Server, find_cache, start_replicas  # noqa: E402
from vbench.host.leases import hold_lease  # noqa: E402
from vbench.plan.sessions import plan  # noqa: E402

BLOCK = 32  # tokens of a block of the server's cache
COUNTED = {
    "requests": "vllm:request_success_total",
    "prompt": "vllm:prompt_tokens_total",
    "reply": "vllm:generation_tokens_total",
    "queries": "vllm:prefix_cache_queries_total",
    "hits": "vllm:prefix_cache_hits_total",
    "ttft_s": "vllm:time_to_first_token_seconds_sum",
}
SERVER = [
    "model=tiny", "hardware=cpu", "engine.max_model_len=4000", "engine.enable_prefix_caching=true",
    f"engine.extra_args=[--block-size,'{BLOCK}',--enable-prompt-tokens-details]",
    "+engine.env.VLLM_LOGGING_LEVEL=ERROR", "+engine.env.VLLM_SERVER_DEV_MODE='1'",
]  # fmt: skip
COLUMNS = (
    "load", "client", "requests: says", "server", "prompt tokens", "reply tokens", "hits: implied", "says", "server",
    "mean TTFT ms: says", "server", "median TTFT ms by turn", "wait s: least", "median", "wall s",
)  # fmt: skip


def implied(kind: str) -> float:
    """The share of prompt tokens that an infinite cache serves, by the load as stated, without a chat template."""
    if kind == "prefix":
        return (
            (1 - stated.GROUPS / stated.REQUESTS) * (stated.PREFIX // BLOCK * BLOCK) / (stated.PREFIX + stated.SUFFIX)
        )
    prompts = [turn * (stated.NEXT + stated.REPLY) + stated.NEXT for turn in range(stated.TURNS)]
    # The last token of a reply is never computed, so no block that has it is in the cache.
    cached = [(before + stated.REPLY - 1) // BLOCK * BLOCK for before in prompts[:-1]]
    return sum(cached) / sum(prompts)


def read_counters(server: Server) -> dict[str, float]:
    with urllib.request.urlopen(f"{server.base_url}/metrics") as reply:
        found = parse_samples(reply.read().decode(), list(COUNTED.values()))
    return {key: sum(found.get(name, [0.0])) for key, name in COUNTED.items()}


def run(server: Server, name: str, kind: str, tokenizer: Path, options: argparse.Namespace) -> list[str] | None:
    """The row of one client; None if it cannot state the load."""
    urllib.request.urlopen(urllib.request.Request(f"{server.base_url}/reset_prefix_cache", method="POST")).close()
    place = Path(options.files or tempfile.mkdtemp(), f"{name.replace(', ', '-').replace(' ', '-')}-{kind}").resolve()
    place.mkdir(parents=True)
    load = Load(server.base_url, server.served_model_name, place, tokenizer)
    client = CLIENTS[name](load, kind)
    if client is None:
        return None
    command, read = client
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"HF_HUB_OFFLINE": "1"} if name != "aiperf" else {}  # aiperf then refuses a tokenizer's folder
    env |= {"PYTHONPATH": str(ROOT)} if name.startswith("vbench") else {}
    before, began = read_counters(server), time.monotonic()
    with (place / "printed.txt").open("w") as printed:
        client_process = subprocess.Popen(
            command, cwd=place, env=env, stdout=printed, stderr=printed, start_new_session=True
        )
        try:
            exit_code = client_process.wait(options.limit_s)
        finally:  # some clients leave processes of theirs behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client_process.pid, signal.SIGKILL)
            client_process.wait()
    wall_s, after = time.monotonic() - began, read_counters(server)
    try:
        told = read(load)
    except (OSError, LookupError, ValueError, StopIteration, TypeError) as error:
        print((place / "printed.txt").read_text()[-1500:], file=sys.stderr)
        raise RuntimeError(f"{name}, {kind}: {error!r}, exit code {exit_code}") from error
    return row(kind, name, told, {key: after[key] - before[key] for key in before}, wall_s)


def row(kind: str, name: str, told: Told, counted: dict[str, float], wall_s: float) -> list[str]:
    requests = counted["requests"]
    by_turn = " ".join(f"{value:.0f}" for value in told.ttft_ms.values())
    waits = (f"{min(told.waits_s):.3f}", f"{statistics.median(told.waits_s):.3f}") if told.waits_s else ("–", "–")
    return [
        kind, name, str(told.requests), f"{requests:.0f}", f"{counted['prompt'] / requests:.1f}",
        f"{counted['reply'] / requests:.1f}", f"{implied(kind):.1%}",
        "–" if told.hit_share is None else f"{told.hit_share:.1%}", f"{counted['hits'] / counted['queries']:.1%}",
        f"{told.mean_ttft_ms:.1f}", f"{1e3 * counted['ttft_s'] / requests:.1f}", by_turn, *waits, f"{wall_s:.0f}",
    ]  # fmt: skip


async def compare(options: argparse.Namespace) -> None:
    (session,) = plan([(composed(SERVER), "")])
    tokenizer = dummy.materialise(session.model, find_cache())
    with tempfile.TemporaryDirectory() as folder, hold_lease(session, print) as lease:
        async with start_replicas(session, lease, Path(folder)) as (server,):
            print(f"engine {await server.control.ask_version()}, load average {os.getloadavg()[0]:.1f} before")
            print(
                f"conversations: {stated.SESSIONS} sessions of {stated.TURNS} turns, {stated.NEXT} tokens each, think "
                f"time {stated.THINK_S} s; prefix: {stated.REQUESTS} requests in {stated.GROUPS} groups, "
                f"{stated.PREFIX} + {stated.SUFFIX} tokens; replies of {stated.REPLY}"
            )
            print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
            for kind in options.loads:
                for name in options.only:
                    try:
                        cells = await asyncio.to_thread(run, server, name, kind, tokenizer, options)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        print(error, file=sys.stderr, flush=True)
                        continue
                    if cells:
                        print(f"| {' | '.join(cells)} |", flush=True)
            print(f"load average {os.getloadavg()[0]:.1f} after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split("+"), default=list(CLIENTS), help="vbench+aiperf")
    parser.add_argument("--loads", type=lambda text: text.split(","), default=["conversations", "prefix"])
    parser.add_argument("--files", help="keeps what the clients write in this folder, which must not have it yet")
    parser.add_argument("--limit-s", type=float, default=300, help="of one client")
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
