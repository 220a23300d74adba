#!/usr/bin/env bash
# vLLM 0.32.0 with --data-parallel-size 2: each engine's vllm:cache_config_info has the blocks of both engines together.
#
# Guess:  the metric has one series an engine (label `engine`), so num_gpu_blocks is that engine's, num_gpu_blocks times
#         block_size is its cache in tokens, as kv_cache_size_tokens beside it, and the server's cache is the sum.
# Seen:   num_gpu_blocks is the sum over the engines in each engine's series; kv_cache_size_tokens is one engine's. Output of
#         2026-11-28, Python 3.11 (engine, blocks times block size, kv_cache_size_tokens; 1 GiB of cache an engine):
#             one engine: 0 1048576 1048576
#             two: 0 2097152 1048576, 1 2097152 1048576
# Matters: capacity summed over the series is twice the true one, and four times with four engines; a tool that divides
#         running tokens by it says that half of a full cache is free.
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0

cat > "$tmp/caches.py" <<'PY'
"""For each engine of the server at this port: its name, blocks times block size, and kv_cache_size_tokens."""
import re, sys, time, urllib.request

URL = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(1800):
    try:
        page = urllib.request.urlopen(f"{URL}/metrics").read().decode()
        break
    except OSError:
        time.sleep(0.5)
for line in sorted(line for line in page.splitlines() if line.startswith("vllm:cache_config_info{")):
    told = dict(re.findall(r'(\w+)="([^"]*)"', line))
    print(told["engine"], int(told["num_gpu_blocks"]) * int(told["block_size"]), told["kv_cache_size_tokens"])
PY
for engines in 1 2; do
  serve_tiny --data-parallel-size "$engines"
  python3 "$tmp/caches.py" "$port" > "$tmp/seen.$engines" || { tail -20 "$tmp/log"; exit 2; }
  kill $!; wait $! 2>/dev/null || true; mv "$tmp/model" "$tmp/model.$engines"
done
seen=$(printf 'one engine: %s\ntwo: %s' "$(cat "$tmp/seen.1")" "$(paste -sd, "$tmp/seen.2" | sed 's/,/, /g')")
holds "$seen" "one engine: 0 1048576 1048576
two: 0 2097152 1048576, 1 2097152 1048576"
