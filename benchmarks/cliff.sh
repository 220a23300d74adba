#!/usr/bin/env bash
# The cliff of conversations on one GPU: search=sessions and 8 to 256 sessions on one server, then the answer confirmed by
# a load of its own, with another seed, on another server.
#
#     bash cliff.sh          one H200, vLLM, llama8b with random weights; about 6 minutes and 2 minutes; from the checkout
#     LEVELS="8 64" PART=1 bash cliff.sh                   other levels; PART=1: only the first server, PART=2: the second
#
# KV cache: 2 (K and V) x 32 layers x 8 KV heads x 128 x 2 bytes (bf16; only the weights are FP8) = 131,072 bytes a token.
# 8,192 blocks of 16 tokens = 131,072 tokens = 16 GiB.
# A session: 2,000 tokens at first, then 100 more and a reply of 60 each turn, 16 turns: prompts of 2,000 .. 4,400 tokens,
# 3,200 on average; 3,260 with the reply. 131,072 / 3,260 = 40 sessions fill the cache: 8, 16 and 32 fit; 64 (1.6 x),
# 128 (3.2 x) and 256 (6.4 x) do not. A turn must compute about 220 tokens (its own 100, and a sixteenth of a new session's
# 2,000) where its prefix is cached (implied share 93 %), and 3,200 where it is not: 14 times as many. At a think time of
# 1 s and replies of 0.4 s, 40 sessions send 29 turns a second: 6,400 tokens/s of prefill with the cache, 92,000 without.
set -euo pipefail
PYTHON=${PYTHON:-python}
CONF=$(mktemp -d); mkdir "$CONF/workload"
level() {  # sessions, seconds of warm-up, seconds measured
  printf 'defaults: [conversations]\nsessions: %s\nwarmup_s: %s\nduration_s: %s\nnum_prompts: %s\n' \
    "$1" "$2" "$3" "$(( ($2 + $3) * ($1 < 64 ? $1 : 64) + 12 * $1 ))" >"$CONF/workload/c$1.yaml"
}
SERVER=(model="${MODEL:-llama8b}" hardware="${HARDWARE:-1xh200}" engine.weights=dummy engine.start_timeout_s=420
  engine.max_model_len=5000 engine.max_num_seqs=256 engine.enable_prefix_caching=true
  +engine.env.VLLM_USE_DEEP_GEMM=0 +engine.env.VLLM_USE_FLASHINFER_SAMPLER=0
  "engine.extra_args=[--num-gpu-blocks-override,'8192',--cudagraph-capture-sizes,'1','2','4','8','16','32','48','64','96','128','192','256']")
LOAD=(workload.output_len=60 workload.conversations.first_len=2000 workload.conversations.next_len=100
  workload.conversations.turns=16 workload.conversations.think_time_s=exponential:1
  'workload.slo={ttft_ms: 500, tpot_ms: 25}')
vbench() { "$PYTHON" -m vbench -m --config-dir "$CONF" experiment=cliff "${SERVER[@]}" "${LOAD[@]}" "$@" ${EXTRA:-}; }

LEVELS=${LEVELS:-8 16 32 64 128 256}
if [ "${PART:-1}" = 1 ]; then
  date +%T
  for n in $LEVELS; do level "$n" $((3 + n / 16)) 10; done  # the histories of n sessions take n x 3,200 tokens to compute
  vbench "workload=$(printf 'c%s,' $LEVELS)sessions_search" || echo "exit code $?: some run is INVALID or failed"
fi
ANSWER=$("$PYTHON" - <<'P'
import json, pathlib
found = [json.loads(path.read_text()) for path in pathlib.Path("multirun/cliff").glob("**/record.json")]
latest = max((r for r in found if "slo_sessions" in r["metrics"]), key=lambda r: r["started_at"])
print(int(latest["metrics"]["slo_sessions"]))
P
)
date +%T
[ "$ANSWER" -gt 0 ] || { echo "no number of sessions meets the SLO: nothing to confirm"; exit 1; }
if [ "${PART:-2}" = 2 ]; then
  echo "search=sessions answers $ANSWER; now a load of its own on another server:"
  level "$ANSWER" 8 25
  vbench workload="c$ANSWER" workload.seed=7 || echo "exit code $?: some run is INVALID or failed"
  date +%T
fi
"$PYTHON" - <<'P'
import json, pathlib
rows = []
for path in pathlib.Path("multirun/cliff").glob("*/*/record.json"):
    r = json.loads(path.read_text())
    load, m = r["config"]["workload"], r["metrics"]
    if load["sessions"] and not r.get("parent") and "aside" not in path.parent.name:
        share = lambda key: f"{m[key]:.1%}" if key in m else "-"
        good = m.get("request_goodput", float("nan")) / m["request_throughput"]
        rows.append((load["sessions"], load["seed"], share("prefix_hits_implied"), share("prefix_hits_simulated"),
                     share("prefix_hits_measured"), f"{m['median_ttft_ms']:.0f}", f"{m['p99_ttft_ms']:.0f}",
                     f"{m['output_throughput']:.0f}", f"{good:.1%}", int(m["completed"]), r["verdict"]))
print("sessions seed implied simulated measured TTFT_p50 TTFT_p99 tok/s within_SLO turns verdict")
for row in sorted(rows):
    print(*row)
P
