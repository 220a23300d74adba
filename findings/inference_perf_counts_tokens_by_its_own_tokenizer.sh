#!/usr/bin/env bash
# inference-perf 0.7.0: output tokens are those that its own tokenizer makes of the text, whatever the server's usage says.
#
# Guess:  it asks for the stream's usage, so output_len and output_tokens_per_sec are the server's completion_tokens.
# Seen:   the usage is read and not used for them. A server that says 20 completion tokens a reply, whose text is 40 tokens
#         to the tokenizer that inference-perf was given. Output of 2026-11-28, Python 3.12:
#             usage 20 completion tokens, asked for by the client: output_len 40, tokens/s 2.0 times the server's
# Matters: text that a tokenizer splits otherwise than the model made it (random ids do), or hidden reasoning, changes
#         tokens/s, TPOT and ITL of this tool, and of no tool that counts by usage.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
python=3.12 install venv inference-perf==0.7.0

cat > "$tmp/server.py" <<'PY'
"""Completions of 20 words, one a chunk each 10 ms, then the usage if it was asked for."""
import http.server, json, sys, time

class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for place in range(20):
            self.tell({"choices": [{"index": 0, "text": " word", "finish_reason": "length" if place == 19 else None}]})
            time.sleep(0.01)
        if (asked.get("stream_options") or {}).get("include_usage"):
            open(sys.argv[1], "w").write("asked for by the client")
            self.tell({"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 20, "total_tokens": 28}})
        self.wfile.write(b"data: [DONE]\n\n")

    def tell(self, event):
        event = {"id": "a", "object": "text_completion", "model": "fake", "created": 0} | event
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 "$tmp/server.py" "$tmp/asked" > "$tmp/port" &
until [ -s "$tmp/port" ]; do sleep 0.1; done

seen=$("$tmp/venv/bin/python" - "$tmp" 2>"$tmp/log" <<'PY'
import json, pathlib, subprocess, sys

home = pathlib.Path(sys.argv[1])
(home / "tokenizer").mkdir()
vocab = {word: place for place, word in enumerate(["?", "wo", "rd", *(f"w{n}" for n in range(2000))])}
halves = {"type": "Split", "pattern": {"Regex": "^wo|rd$"}, "behavior": "Isolated", "invert": False}
tokenizer = {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None,
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, halves]},
             "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "?"}, "truncation": None, "padding": None}
(home / "tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer))
settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "?", "model_max_length": 100000}
(home / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))

lengths = {"mean": 8, "min": 8, "max": 8, "std_dev": 0, "total_count": 4}
config = {
    "api": {"type": "completion", "streaming": True},
    "server": {"type": "vllm", "model_name": "fake", "ignore_eos": True,
               "base_url": "http://127.0.0.1:" + (home / "port").read_text().strip()},
    "tokenizer": {"pretrained_model_name_or_path": str(home / "tokenizer")},
    "data": {"type": "random", "input_distribution": lengths,
             "output_distribution": lengths | {"mean": 20, "min": 20, "max": 20}},
    "load": {"type": "concurrent", "stages": [{"num_requests": 4, "concurrency_level": 1}]},
    "storage": {"local_storage": {"path": str(home / "reports")}},
}
(home / "config.yaml").write_text(json.dumps(config))
command = [str(pathlib.Path(sys.executable).parent / "inference-perf"), "--config_file", str(home / "config.yaml")]
subprocess.run(command, cwd=home, stdout=sys.stderr, check=True)
[path] = home.rglob("stage_0_lifecycle_metrics.json")
found = json.loads(path.read_text())["successes"]
times = found["throughput"]["output_tokens_per_sec"] / (20 * found["throughput"]["requests_per_sec"])
print(f"usage 20 completion tokens, {(home / 'asked').read_text()}: "
      f"output_len {found['output_len']['mean']:.0f}, tokens/s {times:.1f} times the server's")
PY
) || { tail -20 "$tmp/log"; exit 2; }
holds "$seen" "usage 20 completion tokens, asked for by the client: output_len 40, tokens/s 2.0 times the server's"
