#!/usr/bin/env bash
# vLLM 0.32.0's log: "Avg prompt throughput" leaves out what the prefix cache served, and "Prefix cache hit rate" beside it
# is not of the same interval.
#
# Guess:  "Avg prompt throughput" is the growth of vllm:prompt_tokens_total over the interval, cached tokens included, and
#         the hit rate in the same line is of the same interval.
# Seen:   the counter has whole prompts, the log only the tokens that were computed; the hit rate is of the last 1,000
#         requests. 20 prompts of 513 tokens that are new, then, some intervals later, one of them 100 times. Output of
#         2026-11-27, Python 3.11:
#             prompt tokens for each output token: 256.5 by the counters, 0.5 by the log
#             hit rate: 99.8% by the counters, 83.2% by the log's last line
# Matters: with a warm cache the log's prompt throughput falls as the server gets faster, and its hit rate lags by minutes.
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0
export VLLM_LOG_STATS_INTERVAL=2
serve_tiny

seen=$(python3 - "$port" "$tmp/log" <<'PY'
import json, re, sys, time, urllib.request

URL, LOG = f"http://127.0.0.1:{sys.argv[1]}", sys.argv[2]
LINE = r"prompt throughput: ([\d.]+) tokens/s, Avg generation throughput: ([\d.]+) .*hit rate: ([\d.]+)%"

def counted():
    page = urllib.request.urlopen(f"{URL}/metrics").read().decode().splitlines()
    total = lambda name: sum(float(line.rsplit(" ", 1)[1]) for line in page if line.startswith(f"vllm:{name}_total{{"))
    return [total(name) for name in ("prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits")]

def ask(first):
    body = {"model": "tiny", "prompt": [first, *range(100, 612)], "max_tokens": 2, "ignore_eos": True, "detokenize": False}
    sent = urllib.request.Request(f"{URL}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(sent).read()

def lines():
    """The log's lines so far, once the last of them says that nothing was left to tell."""
    time.sleep(8)
    return [[float(each) for each in found] for found in re.findall(LINE, open(LOG).read())]

for _ in range(1800):
    try:
        counted()
        break
    except OSError:
        time.sleep(0.5)
for first in range(700, 720):
    ask(first)
before, earlier = counted(), len(lines())
for _ in range(100):
    ask(700)
told = lines()[earlier:]
prompt, output, queries, hits = (after - old for after, old in zip(counted(), before))
by_log = sum(line[0] for line in told) / sum(line[1] for line in told)
print(f"prompt tokens for each output token: {prompt / output:.1f} by the counters, {by_log:.1f} by the log")
print(f"hit rate: {hits / queries:.1%} by the counters, {told[-1][2]}% by the log's last line")
PY
) || { tail -20 "$tmp/log"; exit 2; }
holds "$seen" "prompt tokens for each output token: 256.5 by the counters, 0.5 by the log
hit rate: 99.8% by the counters, 83.2% by the log's last line"
