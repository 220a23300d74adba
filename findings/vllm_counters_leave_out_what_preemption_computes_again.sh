#!/usr/bin/env bash
# vLLM 0.32.0's /metrics: what a preempted request computes again is in no counter of tokens, only in the one of FLOPs.
#
# Guess:  a request that was preempted looks its prompt up again and computes it again, so prefix_cache_queries grows once
#         more, and prompt_tokens_by_source{source="local_compute"} has what was computed again.
# Seen:   two requests of 500 + 500 tokens in a cache of 11 blocks of 128: all counters of tokens are those of the same
#         requests one after the other, although one of the two was preempted. Output of 2026-11-27, Python 3.11:
#             apart: preempted no; queries 1000, computed prompt tokens 1000, tokens of all steps 2000
#             together: preempted yes; queries 1000, computed prompt tokens 1000, tokens of all steps 2000
#             FLOPs together over apart: above 1.05 (it was 1.11)
# Matters: hit rates and computed tokens look the same whether the KV cache suffices or not: a server that spends its time
#         on repeated prefills shows it in num_preemptions and in lower throughput only.
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0
serve_tiny --num-gpu-blocks-override 12 --max-model-len 1280 --enable-mfu-metrics

seen=$(python3 - "$port" <<'PY'
import json, sys, threading, time, urllib.request

URL = f"http://127.0.0.1:{sys.argv[1]}"
COUNTERS = {"preemptions": "num_preemptions_total{", "queries": "prefix_cache_queries_total{",
            "computed": "prompt_tokens_by_source_total{", "steps": "iteration_tokens_total_sum{",
            "flops": "estimated_flops_per_gpu_total{"}

def counted():
    page = urllib.request.urlopen(f"{URL}/metrics").read().decode().splitlines()
    page = [line for line in page if "by_source" not in line or 'source="local_compute"' in line]
    total = lambda start: sum(float(line.rsplit(" ", 1)[1]) for line in page if line.startswith(f"vllm:{start}"))
    return {word: total(start) for word, start in COUNTERS.items()}

def ask(first):
    body = {"model": "tiny", "prompt": list(range(first, first + 500)), "max_tokens": 500, "ignore_eos": True}
    body = json.dumps(body | {"detokenize": False}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{URL}/v1/completions", body, {"Content-Type": "application/json"})).read()

def pair(word, first, together):
    before = counted()
    asking = [threading.Thread(target=ask, args=(start,)) for start in (first, first + 400)]
    for each in asking:
        each.start()
        if not together:
            each.join()
    for each in asking:
        each.join()
    time.sleep(1)
    grown = {name: value - before[name] for name, value in counted().items()}
    print(f"{word}: preempted {'yes' if grown['preemptions'] else 'no'}; queries {grown['queries']:.0f}, "
          f"computed prompt tokens {grown['computed']:.0f}, tokens of all steps {grown['steps']:.0f}")
    return grown["flops"]

for _ in range(1800):
    try:
        counted()
        break
    except OSError:
        time.sleep(0.5)
apart, together = pair("apart", 100, False), pair("together", 950, True)
ratio = together / apart
print(f"FLOPs together over apart: {'above 1.05' if ratio > 1.05 else ratio}")
print(f"it was {ratio:.2f}", file=sys.stderr)
PY
) || { tail -20 "$tmp/log"; exit 2; }
holds "$seen" "apart: preempted no; queries 1000, computed prompt tokens 1000, tokens of all steps 2000
together: preempted yes; queries 1000, computed prompt tokens 1000, tokens of all steps 2000
FLOPs together over apart: above 1.05"
