#!/usr/bin/env bash
# vLLM 0.32.0: while a lone request is in its first step, /metrics tells of none running and none waiting.
#
# Guess:  vllm:num_requests_running and vllm:num_requests_waiting say what the server has at the moment, so their sum is 1
#         from when it takes a lone request until the end of the reply.
# Seen:   both are as of the end of the engine's last step. While an idle server computes a long prompt in one step they
#         stay 0; from the first token on the sum is 1. Output of 2026-11-28, Python 3.11 (a prompt of 16,084 tokens whose
#         first token took 0.8 s; polls every 20 ms, 21 and 19 of them):
#             before the first token: 0
#             while it is decoded: 1
# Matters: a router that chooses by these gauges sends more to a server that is busy; a watchdog that takes "none running,
#         none waiting" for a lost request is wrong for as long as a first step takes.
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0

cat > "$tmp/gauges.py" <<'PY'
"""Sends one long prompt to the server at this port; prints which sums of both gauges were polled meanwhile."""
import json, re, sys, threading, time, urllib.request

URL = f"http://127.0.0.1:{sys.argv[1]}"
AWAY_S = 0.1  # polls so near to the first or the last token may be of either side


def send(tokens, reply, stamps):
    body = {"model": "tiny", "prompt": [7] * tokens, "max_tokens": reply, "ignore_eos": True, "stream": True}
    words = {"Content-Type": "application/json"}
    for line in urllib.request.urlopen(urllib.request.Request(f"{URL}/v1/completions", json.dumps(body).encode(), words)):
        if line.startswith(b"data: {"):
            stamps.append(time.monotonic())


def poll():
    asked = time.monotonic()
    page = urllib.request.urlopen(f"{URL}/metrics").read().decode()
    counts = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", page, re.M)
    return asked, time.monotonic(), int(sum(map(float, counts)))


for _ in range(600):
    try:
        urllib.request.urlopen(f"{URL}/health").read()
        break
    except OSError:
        time.sleep(0.5)
send(20, 4, [])
time.sleep(1)
stamps, polls, began = [], [], time.monotonic()
sending = threading.Thread(target=send, args=(16084, 200, stamps))
sending.start()
while sending.is_alive():
    polls.append(poll())
    time.sleep(0.02)
for what, since, until in (("before the first token", began, stamps[0]), ("while it is decoded", stamps[0], stamps[-1])):
    seen = {count for asked, told, count in polls if asked > since + AWAY_S and told < until - AWAY_S}
    print(f"{what}: {', '.join(map(str, sorted(seen)))}")
PY
VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 serve_tiny --max-model-len 16384 --max-num-batched-tokens 16384
python3 "$tmp/gauges.py" "$port" > "$tmp/seen" || { tail -20 "$tmp/log"; exit 2; }
holds "$(cat "$tmp/seen")" "before the first token: 0
while it is decoded: 1"
