#!/usr/bin/env bash
# huggingface_hub 2.4.0: snapshot_download(local_dir=…) puts back a config.json that was edited there.
#
# Guess:  the file exists and its revision has not changed, so it is left alone; force_download=True would replace it.
# Seen:   a file changed after its download counts as not downloaded, and is replaced without a word; a file that the
#         repository does not have stays. Output of 2026-11-27, Python 3.11:
#             edited to {"rope_theta": 500000}, after the next snapshot_download: {"rope_theta": 10000}
#             the file of our own: there
# Matters: engineers edit config.json to extend the context; a start-up script that calls `hf download --local-dir` first
#         measures the published one.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv huggingface_hub==2.4.0
serve_hub
seen=$("$tmp/venv/bin/python" - "$tmp/model" 2>/dev/null <<'PY'
import pathlib, sys, time
from huggingface_hub import snapshot_download

folder = pathlib.Path(sys.argv[1])
snapshot_download("some/model", local_dir=folder)
time.sleep(2)  # times of files are compared by the second
(folder / "config.json").write_text('{"rope_theta": 500000}')
(folder / "note.txt").write_text("ours")
edited = (folder / "config.json").read_text()
snapshot_download("some/model", local_dir=folder)
print(f"edited to {edited}, after the next snapshot_download: {(folder / 'config.json').read_text()}")
print("the file of our own:", "there" if (folder / "note.txt").exists() else "gone")
PY
)
holds "$seen" 'edited to {"rope_theta": 500000}, after the next snapshot_download: {"rope_theta": 10000}
the file of our own: there'
