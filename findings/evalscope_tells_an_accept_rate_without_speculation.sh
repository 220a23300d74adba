#!/usr/bin/env bash
# evalscope 1.14.1's perf: a "Spec. Accept Rate" of 0.75 for a server that does not speculate, but sends four tokens a chunk.
#
# Guess:  "Spec. Accept Rate" comes from the server's counters of speculative decoding, and is absent without them.
# Seen:   it is 1 - chunks / tokens of the stream, so that `--stream-interval 4`, or a front end that merges, has one too.
#         Output of 2026-11-27, Python 3.11:
#             one token a chunk: Avg Decoded Tok/Iter None, Spec. Accept Rate None
#             four tokens a chunk: Avg Decoded Tok/Iter 4.0, Spec. Accept Rate 0.75
# Matters: a busy front end, which merges tokens, looks like a draft model that works.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv "evalscope[perf]==1.14.1"

seen=$("$tmp/venv/bin/python" - 2>"$tmp/log" <<'PY'
from evalscope.perf.utils.benchmark_util import BenchmarkData, MetricsAccumulator

for word, tokens, gap in (("one token", 1, 0.01), ("four tokens", 4, 0.04)):
    times = [0.05 + gap * place for place in range(25)]
    reply = BenchmarkData(success=True, is_stream=True, chunk_times=times, prompt_tokens=8,
                          completion_tokens=24 * tokens + 1)
    reply.first_chunk_latency, reply.query_latency, reply.completed_time = times[0], times[-1], times[-1]
    everything = MetricsAccumulator()
    everything.update(reply, None)
    told = everything.to_result().create_message(api_type="openai")
    names = ("Avg Decoded Tok/Iter", "Spec. Accept Rate")
    print(f"{word} a chunk: " + ", ".join(f"{name} {told.get(name)}" for name in names))
PY
) || { tail -20 "$tmp/log"; exit 2; }
holds "$seen" "one token a chunk: Avg Decoded Tok/Iter None, Spec. Accept Rate None
four tokens a chunk: Avg Decoded Tok/Iter 4.0, Spec. Accept Rate 0.75"
