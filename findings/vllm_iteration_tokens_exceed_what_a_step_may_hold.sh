#!/usr/bin/env bash
# vLLM 0.32.0's histogram vllm:iteration_tokens_total: a prompt that is prefilled in four steps is one step of 1,001 tokens.
#
# Guess:  one observation for each engine step, as its help says ("number of tokens per engine_step"): with
#         --max-num-batched-tokens 256 a prompt of 1,000 tokens and 8 output tokens give four steps of 256 tokens at most
#         and seven of one; none is beyond 256.
# Seen:   all tokens of a prompt count in the step of its first output token; the steps before it are not observed. Output
#         of 2026-11-27, Python 3.11:
#             1000 prompt tokens, 8 output tokens, at most 256 a step: 8 observations, 1008 tokens, 1 above 512
# Matters: under long prompts the histogram shows steps that the engine never makes, and too few of them: neither the step
#         size nor the number of steps can be read from it.
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0
serve_tiny --max-num-batched-tokens 256

seen=$(python3 - "$port" <<'PY'
import json, sys, time, urllib.request

URL = f"http://127.0.0.1:{sys.argv[1]}"

def histogram():
    page = urllib.request.urlopen(f"{URL}/metrics").read().decode().splitlines()
    told = lambda start: next(float(line.rsplit(" ", 1)[1]) for line in page if line.startswith(start))
    buckets = [line for line in page if line.startswith("vllm:iteration_tokens_total_bucket{") and 'le="512.0"' in line]
    count, total = told("vllm:iteration_tokens_total_count{"), told("vllm:iteration_tokens_total_sum{")
    return int(count), int(total), int(count - float(buckets[0].rsplit(" ", 1)[1]))

for _ in range(1800):
    try:
        before = histogram()
        break
    except OSError:
        time.sleep(0.5)
body = {"model": "tiny", "prompt": list(range(100, 1100)), "max_tokens": 8, "ignore_eos": True, "detokenize": False}
sent = urllib.request.Request(f"{URL}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
usage = json.load(urllib.request.urlopen(sent))["usage"]
time.sleep(1)
steps, tokens, above = (after - earlier for after, earlier in zip(histogram(), before))
print(f"{usage['prompt_tokens']} prompt tokens, {usage['completion_tokens']} output tokens, at most 256 a step: "
      f"{steps} observations, {tokens} tokens, {above} above 512")
PY
) || { tail -20 "$tmp/log"; exit 2; }
holds "$seen" "1000 prompt tokens, 8 output tokens, at most 256 a step: 8 observations, 1008 tokens, 1 above 512"
