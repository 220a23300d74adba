"""What sessions cost the load client: lateness of turns, and CPU a token beside single requests of the same replies.

    python benchmarks/sessions.py                          1,000 sessions of 20 turns
    python benchmarks/sessions.py --sessions 50 --turns 5  to try it

Both loads go to the fake server, whose timing is known, with as many streams at a time on average: the sessions' think
times spread their turns evenly, and the single requests arrive at the rate at which the turns are sent. All sessions
are there until as much time has passed as their turns take, because a token costs more where fewer streams share the
loop's iterations. The single
requests are sent in two shorter halves, one before the sessions and one after them, so that a host whose speed drifts
shows: the ratio is to the mean of both, and they are printed. Lateness is the time from when a turn was due (its think
time after the reply before it) to when its bytes were handed to the socket. CPU is that of the client's processes from
the first request to the last reply. On an idle host it takes less than five minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.fake_vllm import running  # noqa: E402  the checkout is the package
from vbench.loadgen import Endpoint, Load, Workers  # noqa: E402
from vbench.loadgen.load import Client  # noqa: E402
from vbench.schema import Conversations, Lengths, Workload  # noqa: E402
from vbench.schema.record import NOT_SENT, Requests  # noqa: E402
from vbench.workload.prompts import prompts  # noqa: E402
from vbench.workload.sharing import find_script, send_times  # noqa: E402

VOCABULARY, CONTEXT = 32_000, 131_072
LATE_MS, CPU_RATIO = 5.0, 1.25  # bounds


def send(workers: Workers, url: str, workload: Workload, sending_s: float | None = None) -> tuple[Requests, Client]:
    asked = prompts(workload, VOCABULARY, "", CONTEXT)
    requests, client = workers.run(
        Load(
            endpoints=(Endpoint(url, "fake"),),
            prompts=asked.ids,
            output_len=asked.output_len,
            scheduled=send_times(workload),
            max_concurrency=None,
            ignore_eos=True,
            timeout_s=3600,
            sending_s=sending_s,
            structure=asked.structure,
            sessions=workload.sessions,
            returns_ids=workload.in_sessions,
        )
    )
    requests = requests.select(requests.error != NOT_SENT)
    failed = set(requests.error) - {""}
    assert not failed, failed
    return requests, client


def report(name: str, requests: Requests, client: Client) -> float:
    """Prints a line; returns the microseconds of CPU a token."""
    late = (requests.sent - requests.scheduled) * 1e3
    p50, p99, most = np.percentile(late, [50, 99, 100])
    tokens = int(requests.output_tokens.sum())
    cpu = client.cpu_s / tokens * 1e6
    seconds = float(requests.finished.max())
    print(
        f"{name}: {len(requests):,} requests, {tokens:,} tokens, {seconds:.1f} s, {requests.input_tokens.mean():,.0f} "
        f"prompt tokens on average; lateness p50 {p50:.2f}, p99 {p99:.2f}, most {most:.2f} ms; client CPU {cpu:.2f} us "
        f"a token, {client.processes} processes, busiest {client.busiest_cpu_share:.0%} of a core",
        flush=True,
    )
    return cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--reply", type=int, default=50, help="tokens of a reply")
    parser.add_argument("--think-s", type=float, default=8.0, help="mean think time")
    parser.add_argument("--single-s", type=float, default=25.0, help="seconds of each half of single requests")
    parser.add_argument("--itl-s", type=float, default=0.02)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--real-time", action="store_true", help="run server and client at real-time priority (root)")
    options = parser.parse_args()
    if options.real_time:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # processes started from here on inherit it
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before")
    asked = Conversations(
        turns=options.turns, first_len=100, next_len=50, think_time_s=f"exponential:{options.think_s}", system_len=32
    )
    talks = Workload(
        lengths=Lengths.conversations,
        num_prompts=2 * options.sessions * options.turns,  # more than are sent, so that no session is missed at the end
        sessions=options.sessions,
        output_len=options.reply,
        conversations=asked,
    )
    streaming_s = options.reply * options.itl_s
    rate = options.sessions / (options.think_s + streaming_s)
    single = Workload(
        lengths=Lengths.random,
        num_prompts=int(rate * options.single_s),
        request_rate=rate,
        input_len=int(find_script(talks).lengths[:, 0].mean()),
        output_len=options.reply,
    )
    with running("--itl-s", str(options.itl_s)) as url, Workers(options.processes) as workers:
        before = report("single requests", *send(workers, url, single))
        requests, client = send(workers, url, talks, options.sessions * options.turns / rate)
        cpu = report("sessions", requests, client)
        after = report("single requests", *send(workers, url, replace(single, seed=1)))
    late = float(np.percentile(requests.sent - requests.scheduled, 99)) * 1e3
    ratio = cpu / ((before + after) / 2)
    print(
        f"lateness p99 {late:.2f} ms (bound {LATE_MS}); CPU a token x {ratio:.2f} (bound {CPU_RATIO}); "
        f"load average {os.getloadavg()[0]:.1f} after"
    )


if __name__ == "__main__":
    main()
