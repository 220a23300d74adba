#!/usr/bin/env bash
# gguf 0.19.0: a tensor's `shape` is the reverse of the shape of its `data`.
#
# Guess:  both are that of the array which was written, (3, 32).
# Seen:   `shape` has ggml's order, fastest dimension first; `data` has NumPy's. Output of 2026-11-27, Python 3.11:
#             written (3, 32), shape (32, 3), data (3, 32)
# Matters: a script that reads hidden_size and vocab_size of the embedding from `shape` swaps them, and a square matrix
#         hides it.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv gguf==0.19.0 numpy==2.3.5
seen=$("$tmp/venv/bin/python" - "$tmp/model.gguf" 2>/dev/null <<'PY'
import sys
import gguf
import numpy as np

written = np.zeros((3, 32), dtype=np.float32)
writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_tensor("token_embd.weight", written)
for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
    step()
(read,) = gguf.GGUFReader(sys.argv[1]).tensors
print(f"written {written.shape}, shape {tuple(int(n) for n in read.shape)}, data {read.data.shape}")
PY
)
holds "$seen" "written (3, 32), shape (32, 3), data (3, 32)"
