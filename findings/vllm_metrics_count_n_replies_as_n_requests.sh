#!/usr/bin/env bash
# vLLM 0.32.0's /metrics: one request with n=4 is four requests, whose prompts count four times; one that its client ends
# is in no vllm:request_success_total, though it has a label finished_reason="abort".
#
# Guess:  n=4: one success and the 300 prompt tokens that its usage tells; an aborted request: "abort" grows by one.
# Seen:   n=4: four of each, and its own copies as hits in the prefix cache; an aborted one: its tokens and its TTFT
#         count, and nothing else. Output of 2026-11-27, Python 3.11:
#             n=4: usage 300 prompt tokens; successes 4, prompt tokens 1200, cache hits yes
#             aborted: successes 0, prompt tokens 300, TTFTs 1, latencies 0
# Matters: a prefix cache hit rate looks high for prompts that were never sent before, and a server whose clients give up
#         has requests in its token counters and TTFT that no counter of requests shows.
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0
serve_tiny
seen=$(python3 - "$port" <<'PY'
import http.client, json, sys, time, urllib.request

PORT = int(sys.argv[1])
COUNTERS = {"successes": "request_success_total", "prompt tokens": "prompt_tokens_total",
            "hits": "prefix_cache_hits_total", "TTFTs": "time_to_first_token_seconds_count",
            "latencies": "e2e_request_latency_seconds_count"}

def counted():
    page = urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics").read().decode().splitlines()
    total = lambda name: sum(int(float(line.rsplit(" ", 1)[1])) for line in page if line.startswith(f"vllm:{name}{{"))
    return {word: total(name) for word, name in COUNTERS.items()}

def asked(first, **options):
    body = {"model": "tiny", "prompt": list(range(first, first + 300)), "ignore_eos": True, "detokenize": False}
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    connection.request("POST", "/v1/completions", json.dumps(body | options), {"Content-Type": "application/json"})
    return connection, connection.getresponse()

def grown(before):
    time.sleep(3)
    return {word: value - before[word] for word, value in counted().items()}

for _ in range(1800):
    try:
        before = counted()
        break
    except OSError:
        time.sleep(0.5)
connection, reply = asked(100, n=4, max_tokens=10)
usage = json.load(reply)["usage"]
found = grown(before)
print(f"n=4: usage {usage['prompt_tokens']} prompt tokens; successes {found['successes']}, "
      f"prompt tokens {found['prompt tokens']}, cache hits {'yes' if found['hits'] else 'no'}")
before = counted()
connection, reply = asked(900, max_tokens=1500, stream=True)
reply.readline()  # the first token
reply.close()
connection.close()
found = grown(before)
print("aborted: " + ", ".join(f"{word} {found[word]}" for word in ("successes", "prompt tokens", "TTFTs", "latencies")))
PY
) || { tail -20 "$tmp/log"; exit 2; }
holds "$seen" "n=4: usage 300 prompt tokens; successes 4, prompt tokens 1200, cache hits yes
aborted: successes 0, prompt tokens 300, TTFTs 1, latencies 0"
