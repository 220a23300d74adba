#!/usr/bin/env bash
# huggingface_hub 2.4.0: a download that a killed process left half done is not resumed by the next one.
#
# Guess:  `hf_hub_download`, and so `snapshot_download` and `hf download`, goes on where the killed process stopped, as
#         `resume_download` once did: the cache still holds the partial blob.
# Seen:   the second process asks for the whole file, without a Range header, and the first one's partial file stays in
#         the cache. Output of 2026-11-27, Python 3.11:
#             killed with 10485760 of 16000000 bytes on disk
#             second process: Range header '(none)', partial files before 1, after 1
# Matters: a model of 700 GB fetched under a time limit never gets done; the cache grows with each try.
#
# The script serves one 16 MB file on loopback, slowly at first, and kills the client half way. Fails if this changes.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check huggingface_hub==2.4.0 2>"$tmp/pip.log" || { cat "$tmp/pip.log"; exit 2; }

cat > "$tmp/hub.py" <<'PY'
"""A hub with one repository of one large file. The first request for the file stops sending half way, and stays open."""
import hashlib, http.server, sys, time

BLOB = bytes(range(256)) * 62_500
COMMIT, ETAG = "c" * 40, hashlib.sha256(BLOB).hexdigest()
asked = []


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, headers, body=b"", length=None):
        self.send_response(200)
        for key, value in {"Content-Length": len(body) if length is None else length, **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()

    def do_HEAD(self):
        self.answer({"X-Repo-Commit": COMMIT, "ETag": f'"{ETAG}"'}, length=len(BLOB))

    def do_GET(self):
        asked.append(self.headers.get("Range", "(none)"))
        with open(sys.argv[1], "w") as log:
            log.write("\n".join(asked))
        first = int(asked[-1].removeprefix("bytes=").rstrip("-")) if asked[-1] != "(none)" else 0
        rest = BLOB[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(rest)))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(BLOB) - 1}/{len(BLOB)}")
        self.end_headers()
        if len(asked) == 1:
            self.wfile.write(rest[: 10 << 20])
            self.wfile.flush()
            time.sleep(600)
        else:
            self.wfile.write(rest)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
print(server.server_port, flush=True)
server.serve_forever()
PY

python3 "$tmp/hub.py" "$tmp/asked" > "$tmp/port" & 
until [ -s "$tmp/port" ]; do sleep 0.1; done
export HF_ENDPOINT="http://127.0.0.1:$(cat "$tmp/port")" HF_HOME="$tmp/hf" HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_TELEMETRY=1 NO_PROXY=127.0.0.1
mkdir -p "$HF_HOME"
download='from huggingface_hub import hf_hub_download; hf_hub_download("some/model", "model.safetensors")'
partial() { find "$HF_HOME" -name '*.incomplete' -size +0; }

"$tmp/venv/bin/python" -c "$download" > "$tmp/first.log" 2>&1 & client=$!
for _ in $(seq 1500); do
  size=$(partial | xargs -r stat -c %s | sort -n | tail -n 1 || true)
  [ "${size:-0}" -ge 8000000 ] && break
  sleep 0.2
done
kill -9 "$client" || { cat "$tmp/first.log"; exit 2; }; wait "$client" 2>/dev/null || true
before=$(partial | wc -l)
echo "killed with ${size:-0} of 16000000 bytes on disk"
"$tmp/venv/bin/python" -c "$download" > "$tmp/second.log" 2>&1 || { cat "$tmp/second.log"; exit 2; }
range=$(tail -n 1 "$tmp/asked")
after=$(partial | wc -l)
echo "second process: Range header '$range', partial files before $before, after $after"
[ "${size:-0}" -ge 8000000 ] && [ "$range" = "(none)" ] && [ "$before" = 1 ] && [ "$after" = 1 ] || { echo changed; exit 1; }
echo "as described"
