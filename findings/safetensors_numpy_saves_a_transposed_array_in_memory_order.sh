#!/usr/bin/env bash
# safetensors 0.8.0: a transposed NumPy array comes back with its values in other places.
#
# Guess:  it is saved right, as numpy.save does, or refused, as safetensors.torch refuses a tensor that is not contiguous.
# Seen:   the header has the shape of the view, the data the order of the memory below it, from its first element on.
#         Output of 2026-11-27, Python 3.11, NumPy 2.3.5:
#             saved   [[0, 3], [1, 4], [2, 5]]
#             loaded  [[0, 1], [2, 3], [4, 5]]
#             saved   [0, 2, 4]
#             loaded  [0, 1, 2]
# Matters: weights that a conversion script transposes are wrong on disk, with the right names, shapes and sizes.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv safetensors==0.8.0 numpy==2.3.5

seen=$("$tmp/venv/bin/python" - <<'PY'
import numpy as np
from safetensors.numpy import load, save

turned, strided = np.arange(6).reshape(2, 3).T, np.arange(6)[::2]
back = load(save({"turned": turned, "strided": strided}))
for name, array in (("turned", turned), ("strided", strided)):
    print("saved  ", array.tolist())
    print("loaded ", back[name].tolist())
PY
)
holds "$seen" "saved   [[0, 3], [1, 4], [2, 5]]
loaded  [[0, 1], [2, 3], [4, 5]]
saved   [0, 2, 4]
loaded  [0, 1, 2]"
