#!/usr/bin/env bash
# huggingface_hub 2.4.0: snapshot_download(local_files_only=True) returns a snapshot of which only config.json is cached.
#
# Guess:  it raises LocalEntryNotFoundError unless all files of the repository (or of allow_patterns) are cached.
# Seen:   it returns the folder if any file of that revision is there. Output of 2026-11-27, Python 3.11:
#             all files: ['config.json']
#             allow_patterns=*.safetensors: ['config.json']
# Matters: a check of the cache ahead of a job passes after somebody has read the model's config or tokenizer; the job then
#         looks for weights on a node without a network.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv huggingface_hub==2.4.0
serve_hub
seen=$("$tmp/venv/bin/python" - 2>/dev/null <<'PY'
import os
from huggingface_hub import hf_hub_download, snapshot_download

hf_hub_download("some/model", "config.json")
print("all files:", os.listdir(snapshot_download("some/model", local_files_only=True)))
weights = snapshot_download("some/model", local_files_only=True, allow_patterns="*.safetensors")
print("allow_patterns=*.safetensors:", os.listdir(weights))
PY
)
holds "$seen" "all files: ['config.json']
allow_patterns=*.safetensors: ['config.json']"
