#!/usr/bin/env bash
# vLLM 0.32.0: probes of `vllm bench serve --probe-request-rate` share the load's connections, and its clock runs on to their end.
#
# Guess:  they bypass --max-concurrency, as --help says, and measure what the server makes others wait; throughput is
#         the same with them as without.
# Seen:   --max-concurrency is also the size of the client's pool of connections, in which probes wait for one that the
#         load holds: their latency is that of the load's replies. The clock stops after the last probe's interval.
#         Output of 2026-11-28, Python 3.11:
#             probes: the server takes 0 s at most, their median is 2 s; the load's replies take 2 s
#             one probe each 10 s: the load of 6 s is one of 10 s or more, with 0.6 or less of its tokens/s
# Matters: a server that answers others at once looks stalled, by as much as its replies are long, and the rates of a
#         valid run sink with a slower probe rate. (0.33.0, run on 2026-11-28: 0 s, and 6 s with 1.0 of the tokens/s.)
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0

cat > "$tmp/server.py" <<'PY'
"""Completions of 20 tokens, one each 0.1 s; a probe's one token at once. Notes the seconds that each probe took."""
import asyncio, json, sys, time
from aiohttp import web

async def complete(request):
    began, asked = time.monotonic(), await request.json()
    reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await reply.prepare(request)
    for place in range(asked["max_tokens"]):
        await asyncio.sleep(0.1 if asked["max_tokens"] > 1 else 0)
        await tell(reply, {"choices": [{"index": 0, "text": " w", "finish_reason": None}]})
    await tell(reply, {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": asked["max_tokens"]}})
    await reply.write(b"data: [DONE]\n\n")
    if asked["max_tokens"] == 1:
        print(time.monotonic() - began, file=open(sys.argv[1], "a"))
    return reply

async def tell(reply, event):
    await reply.write(b"data: " + json.dumps(event).encode() + b"\n\n")

async def serve():
    app = web.Application()
    app.router.add_post("/v1/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
PY
python3 "$tmp/server.py" "$tmp/probes" > "$tmp/port" &
until [ -s "$tmp/port" ]; do sleep 0.1; done

seen=$(cd "$tmp" && NO_PROXY=127.0.0.1 python3 - 2>"$tmp/log" <<'PY'
import argparse, contextlib, json, pathlib, statistics, sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm.benchmarks import serve

words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(2000)}, unk_token="w0"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained("tokenizer")
serve.add_cli_args(parser := argparse.ArgumentParser())

def load(*options):
    """Six replies of 2 s, two at a time: its result file."""
    url = "http://127.0.0.1:" + pathlib.Path("port").read_text().strip()
    line = (f"--backend vllm --base-url {url} --model fake --tokenizer tokenizer --dataset-name random "
            "--random-input-len 8 --random-output-len 20 --ignore-eos --num-prompts 6 --max-concurrency 2 "
            "--disable-tqdm --save-result --result-filename result.json")
    with contextlib.redirect_stdout(sys.stderr):
        serve.main(parser.parse_args([*line.split(), *options]))
    return json.loads(pathlib.Path("result.json").read_text())

alone = load()
often = load("--probe-request-rate", "10")
took = max(map(float, pathlib.Path("probes").read_text().split()))
rarely = load("--probe-request-rate", "0.1")
replies = statistics.median(often["latencies"])
print(f"probes: the server takes {took:.0f} s at most, their median is {often['probe_median_e2el_ms'] / 1e3:.0f} s; "
      f"the load's replies take {replies:.0f} s")
# Whether the first probe waits for a connection, 2 s, is a race: the load then ends after 10 or 12 s.
longer, share = rarely["duration"], rarely["output_throughput"] / alone["output_throughput"]
print(f"one probe each 10 s: the load of {alone['duration']:.0f} s is one of {'10 s or more' if longer > 9.5 else longer}, "
      f"with {'0.6 or less' if share < 0.65 else share} of its tokens/s")
PY
) || { tail -20 "$tmp/log"; exit 2; }
holds "$seen" "probes: the server takes 0 s at most, their median is 2 s; the load's replies take 2 s
one probe each 10 s: the load of 6 s is one of 10 s or more, with 0.6 or less of its tokens/s"
