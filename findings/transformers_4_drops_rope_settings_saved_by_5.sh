#!/usr/bin/env bash
# transformers 5.24.0 saves a config whose rotary settings transformers 4.57.1 drops without a word.
#
# Guess:  a config.json saved by one release is read by the release before with the same rope_theta, or refused.
# Seen:   5 writes rope_theta and the scaling only inside `rope_parameters`; 4 reads its default of 10000 and no scaling.
#         Output of 2026-11-27, Python 3.11:
#             saved by 5.24.0 with rope_theta 500000.0 and llama3 scaling by 8.0
#             read by 4.57.1: rope_theta 10000.0, rope_scaling None
# Matters: a checkpoint saved again on one host (fine-tuned, quantised) is served on another with wrong positions; it
#         loads, and answers worse, with another longest context.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install old transformers==4.57.1
install new transformers==5.24.0

cat > "$tmp/save.py" <<'PY'
import sys, transformers
scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
scaling |= {"original_max_position_embeddings": 8192}
config = transformers.LlamaConfig(rope_theta=500000.0, rope_scaling=scaling, max_position_embeddings=131072)
config.save_pretrained(sys.argv[1])
used = config.rope_parameters
print(f"saved by {transformers.__version__} with rope_theta {used['rope_theta']} and {used['rope_type']} scaling by {used['factor']}")
PY
cat > "$tmp/read.py" <<'PY'
import sys, transformers
config = transformers.AutoConfig.from_pretrained(sys.argv[1])
print(f"read by {transformers.__version__}: rope_theta {config.rope_theta}, rope_scaling {config.rope_scaling}")
PY
seen=$("$tmp/new/bin/python" "$tmp/save.py" "$tmp/model" 2>/dev/null; "$tmp/old/bin/python" "$tmp/read.py" "$tmp/model" 2>/dev/null)
holds "$seen" "saved by 5.24.0 with rope_theta 500000.0 and llama3 scaling by 8.0
read by 4.57.1: rope_theta 10000.0, rope_scaling None"
