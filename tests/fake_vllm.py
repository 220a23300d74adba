"""A server that speaks vLLM's HTTP and whose timing is known: what clients, sessions and benchmarks are tested against.

    python tests/fake_vllm.py --port 0 --ttft-s 0.05 --itl-s 0.01        prints the URL once it listens
    engine.command=[python,tests/fake_vllm.py]                           in vLLM's stead: vLLM's own flags are accepted

    with running("--itl-s", "0.01") as base_url: ...                     in a test: a process of its own

Time: one global tick of `itl_s`, as an engine steps. A request is admitted when fewer than `max_num_seqs` run, its
first token leaves on the first tick at least `ttft_s` later, and each tick after that brings a chunk of
`tokens_per_chunk`. With `--wakes` a request that finds the engine idle begins a tick, as it begins a step of a real
engine; without, it waits for the rest of a tick, which differs from load to load. With `--stamp` every chunk says when
it left: `"sent_ns"`, CLOCK_MONOTONIC, which on Linux is
`time.perf_counter_ns`; GET /fake/stamps gives them all, by the prompt's first token; GET /fake/streams gives those of
every stream in order, behind the time at which its request came.

Failures (`--fail`), at start: oom_load, oom_kv, never_ready, exit:N. At work: die_after:K (the process exits hard once
K requests are finished), http_500, error_event and early_close (half way), empty_reply (no token), short_reply (half
the tokens, "stop"). With `--once FILE` only the first server fails, which leaves the file; `--then` says how the later
ones do. With `--forget K,…` these requests, counted from 0, stop half way: they neither run nor wait any more, and
their connections stay open. A `--max-model-len` beyond `--kv-cache-tokens` fails at start as vLLM does; `auto` is
fitted.

Compilation (`--compile-s`): a step that meets a new shape takes so much longer, and logs what vLLM's kernel monitor
logs. A shape is a power of two of the requests that run (`--compile-shapes`), or the K-th request to come
(`--compile-at K,…`). With `--compile-silently` the log says nothing; with `--log-first-compilation` it tells of one
kernel, as vLLM does, not of its variants. Prefill (`--prefill-tokens-per-s`): a step takes as much longer as the
prompts that it admits.

Step sizes (`--compile-steps`): each prefill step beyond `--captured` tokens needs a kernel for its tokens, rounded up
to 32, and for whether 16 divides them, as vLLM's MXFP4 experts do. `--kernel-cache FOLDER` keeps what was compiled
beyond the server's end; a kernel found there takes `--load-s`. With `--jit-monitor-verbose` the log has each kernel,
else the first. Completions of several prompts at once are answered whole: POST /pause and /resume make them one step.

With `return_token_ids` every chunk tells its ids, and the first those of the prompt; the reply's blocks are cached.

The stream is lean, so that client and server can share two cores: bytes are prepared once a request, and a tick is one
write a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

VERSION = "0.32.0+fake"
MODEL_CONTEXT = 131_072  # what `--max-model-len auto` would like to have
CACHE_BLOCK = 16  # tokens of a block of the prefix cache, which lasts forever
STAMP_DIGITS = b"%20d"  # of one width, so that the framing around it can be made beforehand
STAMP = b',"sent_ns":' + STAMP_DIGITS
ALARM_S = (
    0.0015  # the loop's timers count whole milliseconds: a tick is awaited by them until then, and slept for after
)
END_OF_REPLY = b"0\r\n\r\n"
HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error"}


# ---------------------------------------------------------------------------------------------- the engine and its time


class Stream:
    """One completion: what it still owes its connection."""

    def __init__(self, connection: Connection, request: dict[str, Any], chat: bool, number: int, options: Any) -> None:
        self.connection = connection
        self.prompt_tokens = count_tokens(request["messages"] if chat else request["prompt"])
        self.asked = request.get("max_tokens") or request.get("max_completion_tokens") or 16
        self.total = self.asked  # tokens until the stream ends
        self.finish = "length"
        if options.fail == "short_reply":
            self.total, self.finish = max(self.asked // 2, 1), "stop"
        elif options.fail == "empty_reply":
            self.total, self.finish = 0, "stop"
        self.breaks_at = self.asked // 2 if options.fail in ("error_event", "early_close") else -1
        self.forgotten_at = self.asked // 2 if number in options.forget else -1
        self.done = 0  # tokens sent
        self.first_at = 0.0  # when its first token may leave
        self.step = options.tokens_per_chunk
        self.stamp: list[int] | None = [] if options.stamp else None  # when its chunks left
        wanted = request.get("stream_options") or {}
        forced = options.enable_force_include_usage
        self.usage = forced or wanted.get("include_usage")
        self.continuous = forced or wanted.get("continuous_usage_stats")
        self.chat = chat
        self.head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{number:032x}",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": int(time.time()),
            "model": request.get("model") or options.served_model_name,
        }
        self.ids: list[int] | None = None
        self.plain = self.event(self.step, None)
        self.framed = framed(self.plain)
        if request.get("return_token_ids") and not chat:
            self.prompt, self.salt = request["prompt"], request.get("cache_salt")
            self.ids = reply_ids(self.prompt, self.total)
            self.prompt_ids: list[int] | None = None
            until, bracket, after = self.event(self.step, None).rpartition(b"[")
            starts = range(0, self.total, self.step)
            told = [",".join(map(str, self.ids[start : start + self.step])).encode() for start in starts]
            self.id_frames = [framed(until + bracket + ids + after) for ids in told]
            self.prompt_ids = self.prompt  # told with the first chunk, as vLLM does
        self.until_stamp, _, self.after_stamp = framed(self.plain + STAMP % 0).partition(STAMP_DIGITS % 0)

    def event(self, tokens: int, finish: str | None) -> bytes:
        """A chunk's JSON, without its closing brace: a stamp or a usage may follow."""
        text = " word" * tokens
        choice: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
        choice |= {"logprobs": None, "finish_reason": finish}
        if self.ids is not None:
            choice["prompt_token_ids"], self.prompt_ids = self.prompt_ids, None
            choice["token_ids"] = self.ids[self.done - tokens : self.done]
        event = self.head | {"choices": [{"index": 0, **choice}]}
        return json.dumps(event, separators=(",", ":")).encode()[:-1]

    def chunk(self) -> bytes:
        """The next chunk; with the last one comes the end of the reply."""
        tokens = min(self.step, self.total - self.done)
        first, self.done = self.done == 0, self.done + tokens
        ended = self.done >= self.total
        if self.ids is not None and not (first or ended or self.continuous or self.stamp is not None):
            return self.id_frames[(self.done - 1) // self.step]
        if self.ids is None and not (first or ended or self.continuous):  # nearly always
            if self.stamp is None:
                return self.framed
            self.stamp.append(now := time.perf_counter_ns())
            return self.until_stamp + STAMP_DIGITS % now + self.after_stamp
        parts = []
        if first and self.chat:
            delta = {"role": "assistant", "content": ""}
            role = self.head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
            parts.append(framed(json.dumps(role).encode()[:-1]))
        if tokens or ended:
            told = ended or self.ids is not None
            event = self.event(tokens, self.finish if ended else None) if told else self.plain
            if self.continuous:
                event += b',"usage":' + json.dumps(self.used()).encode()
            if self.stamp is not None:
                self.stamp.append(time.perf_counter_ns())
                event += STAMP % self.stamp[-1]
            parts.append(framed(event))
        if ended:
            if self.usage:
                parts.append(framed(json.dumps(self.head | {"choices": [], "usage": self.used()}).encode()[:-1]))
            parts += [sse(b"[DONE]"), END_OF_REPLY]
        return b"".join(parts)

    def used(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.done,
            "total_tokens": self.prompt_tokens + self.done,
        }


class Batch:
    """A request for one token to each of several prompts, answered in one piece."""

    def __init__(self, connection: Connection, prompts: list[list[int]]) -> None:
        self.connection, self.lengths = connection, [len(prompt) for prompt in prompts]
        self.whole = connection.engine.paused  # its prompts wait together; otherwise the first is a step of its own

    def process(self, engine: Engine) -> None:
        parts = [sum(self.lengths)] if self.whole else [self.lengths[0], sum(self.lengths[1:])]
        for tokens in parts:
            engine.prefill(tokens)
        engine.prompt_tokens += sum(self.lengths)
        engine.generation_tokens += len(self.lengths)
        choices = [{"index": index, "text": " word", "finish_reason": "length"} for index in range(len(self.lengths))]
        self.connection.reply(200, {"object": "text_completion", "choices": choices})


class Engine:
    """All streams, ticking together."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.waiting: deque[Stream] = deque()
        self.running: list[Stream] = []
        self.requests = self.prompt_tokens = self.generation_tokens = self.queried = self.hit = 0
        self.connections = self.most_in_flight = 0
        self.finished = {"length": 0, "stop": 0, "abort": 0, "error": 0}
        self.seen_blocks: set[int] = set()  # chained hashes: the prefix cache, which is infinite
        self.stamps: dict[str, list[int]] = {}
        self.streams: list[tuple[int, list[int]]] = []  # when the request came, when its chunks left
        self.due = 0.0
        self.unprefilled = 0  # prompt tokens that the next step has to process
        self.compiled: set[str] = set()
        self.paused = False
        self.batches: deque[Batch] = deque()

    @property
    def capacity(self) -> int:
        """Tokens of the KV caches of all its engines."""
        return self.options.kv_cache_tokens * self.options.data_parallel_size

    def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.due = time.perf_counter()
        self.tick()

    def admit(self, stream: Stream, prompt: list[int]) -> None:
        """Queues a request; `prompt` is what `hash_blocks` makes of its prompt."""
        self.requests += 1
        self.queried += stream.prompt_tokens
        most = (stream.prompt_tokens - 1) // CACHE_BLOCK  # the last token is computed for its logits
        self.hit += CACHE_BLOCK * sum(block in self.seen_blocks for block in prompt[:most])
        self.seen_blocks.update(prompt)
        if self.options.wakes and not (self.running or self.waiting):
            self.due = time.perf_counter() + self.options.itl_s
            self.next_tick.cancel()
            self.plan_tick(time.perf_counter())
        self.waiting.append(stream)
        self.most_in_flight = max(self.most_in_flight, len(self.waiting) + len(self.running))
        self.schedule()

    def schedule(self) -> None:
        if self.options.hold and self.options.hold.exists():
            return
        while self.waiting and len(self.running) < self.options.max_num_seqs * self.options.data_parallel_size:
            stream = self.waiting.popleft()
            stream.first_at = time.perf_counter() + self.options.ttft_s
            self.prompt_tokens += stream.prompt_tokens
            self.unprefilled += stream.prompt_tokens
            self.running.append(stream)

    def tick(self) -> None:
        if (early := self.due - time.perf_counter()) > 0:
            time.sleep(early)
        self.take_longer()
        now = time.perf_counter()
        ended = [stream for stream in self.running if stream.first_at <= now and self.advance(stream)]
        if ended:
            gone = set(ended)
            self.running = [stream for stream in self.running if stream not in gone]
        if ended or self.options.hold:
            self.schedule()
        now = time.perf_counter()
        self.due = max(self.due + self.options.itl_s, now)  # a step that took too long is followed at once
        self.plan_tick(now)

    def plan_tick(self, now: float) -> None:
        self.next_tick = self.loop.call_later(max(self.due - now - ALARM_S, 0.0), self.tick)

    def take_longer(self) -> None:
        """Prefills the prompts that came, and compiles what this step needs and no step before it did."""
        options = self.options
        while self.batches and not self.paused:
            self.batches.popleft().process(self)
        self.prefill(self.unprefilled)
        self.unprefilled = 0
        shapes = {f"_request_{k}_kernel" for k in options.compile_at if self.requests >= k}
        if options.compile_shapes and self.running:
            shapes.add(f"_batch_{1 << (len(self.running) - 1).bit_length()}_kernel")
        for kernel in sorted(shapes - self.compiled):
            self.compiled.add(kernel)
            time.sleep(options.compile_s)
            if not options.compile_silently and not (options.log_first_compilation and len(self.compiled) > 1):
                log_compilation(kernel)

    def prefill(self, tokens: int) -> None:
        """Processes these prompt tokens in steps of at most `max_num_batched_tokens`."""
        options = self.options
        while tokens > 0:
            step, tokens = min(tokens, options.max_num_batched_tokens), tokens - options.max_num_batched_tokens
            if options.prefill_tokens_per_s:
                time.sleep(step / options.prefill_tokens_per_s)
            if options.compile_steps and step > options.captured:
                self.compile_step(-(-step // 32) * 32, step % 16 == 0)

    def compile_step(self, stride: int, divisible: bool) -> None:
        options, variant = self.options, f"stride_rn={stride}, divisible={divisible}"
        if variant in self.compiled:
            return
        first, kept = not self.compiled, options.kernel_cache and options.kernel_cache / f"{stride}-{divisible}"
        self.compiled.add(variant)
        time.sleep(options.load_s if kept and kept.exists() else options.compile_s)
        if kept:
            kept.touch()
        if options.jit_monitor_verbose:
            log_compilation(f"_topk_forward (constexprs={{BLOCK_M=32, {variant}}}; key=None)")
        elif first:
            log_compilation("_topk_forward")

    def advance(self, stream: Stream) -> bool:
        """Sends the next chunk; true once the stream is over."""
        before = stream.done
        if 0 <= stream.forgotten_at <= before:
            stream.connection.stream = None
            return True
        if 0 <= stream.breaks_at <= before:
            stream.connection.break_off(self.options.fail)
            self.finished["error"] += 1
            return True
        stream.connection.send(stream.chunk())
        self.generation_tokens += stream.done - before
        if stream.done < stream.total:
            return False
        stream.connection.stream = None
        if stream.ids is not None:  # the last token is never computed
            self.seen_blocks.update(hash_blocks(stream.salt, stream.prompt + stream.ids[:-1]))
        self.finished[stream.finish] += 1
        if self.options.fail == f"die_after:{sum(self.finished.values())}":
            self.loop.call_later(0.001, die)  # this reply still leaves whole
        return True

    def abort(self, stream: Stream) -> None:
        self.finished["abort"] += 1
        queue = self.waiting if stream in self.waiting else self.running
        queue.remove(stream)
        self.schedule()

    def metrics(self) -> str:
        held = sum(stream.prompt_tokens + stream.done for stream in self.running)
        values = {
            "vllm:num_requests_running": ("gauge", len(self.running)),
            "vllm:num_requests_waiting": ("gauge", len(self.waiting)),
            "vllm:kv_cache_usage_perc": ("gauge", min(held / self.capacity, 1.0)),
            "vllm:num_preemptions_total": ("counter", 0),
            "vllm:prompt_tokens_total": ("counter", self.prompt_tokens),
            "vllm:generation_tokens_total": ("counter", self.generation_tokens),
            "vllm:prefix_cache_queries_total": ("counter", self.queried),
            "vllm:prefix_cache_hits_total": ("counter", self.hit),
            "fake:requests_total": ("counter", self.requests),
            "fake:connections_total": ("counter", self.connections),
            "fake:most_requests_in_flight": ("gauge", self.most_in_flight),
        }
        served, engines = f'model_name="{self.options.served_model_name}"', self.options.data_parallel_size
        lines = []
        for name, (kind, value) in values.items():
            lines += [f"# HELP {name} As vLLM's.", f"# TYPE {name} {kind}"]
            for engine in range(engines):  # the last has what does not divide; a share of a cache is each one's own
                part = value if "perc" in name else value // engines + (value % engines if engine == engines - 1 else 0)
                lines.append(f'{name}{{engine="{engine}",{served}}} {float(part)}')
        lines += ["# HELP vllm:request_success_total As vLLM's.", "# TYPE vllm:request_success_total counter"]
        for reason, count in self.finished.items():
            labels = f'engine="0",{served},finished_reason="{reason}"'
            lines.append(f"vllm:request_success_total{{{labels}}} {float(count)}")
        return "\n".join(lines) + "\n"


def die() -> None:
    print("EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.", flush=True)
    os._exit(1)


# ------------------------------------------------------------------------------------------------------------- the wire


def sse(data: bytes) -> bytes:
    """A server-sent event as one chunk of a chunked reply."""
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def framed(unclosed: bytes) -> bytes:
    return sse(unclosed + b"}")


def hash_blocks(salt: str | None, prompt: Any) -> list[int]:
    """The blocks of a prompt, each by all tokens up to its end and the salt; a prompt of text is one block."""
    if not (isinstance(prompt, list) and prompt and isinstance(prompt[0], int)):
        return [hash(json.dumps([salt, prompt]))]
    chain, found = hash(salt), []
    for start in range(0, len(prompt) - CACHE_BLOCK + 1, CACHE_BLOCK):
        chain = hash((chain, *prompt[start : start + CACHE_BLOCK]))
        found.append(chain)
    return found


def reply_ids(prompt: list[int], total: int) -> list[int]:
    """The tokens of a reply: they follow from the prompt."""
    start = hash(tuple(prompt[-CACHE_BLOCK:]))
    return [1000 + (start + 7919 * place) % 20_000 for place in range(total)]


def count_tokens(prompt: Any) -> int:
    """Token ids count one each, text by its words, messages and their parts by their contents."""
    if isinstance(prompt, str):
        return len(prompt.split())
    return sum(1 if isinstance(part, int) else count_tokens(content(part)) for part in prompt)


def first_token(prompt: Any) -> str:
    if isinstance(prompt, str):
        return (prompt.split(maxsplit=1) or [""])[0]
    return str(prompt[0]) if isinstance(prompt[0], int) else first_token(content(prompt[0]))


def content(part: Any) -> Any:
    """A message's content, which may be a list of parts; a part's text."""
    return part if isinstance(part, str) else part.get("content", part.get("text", ""))


class Connection(asyncio.Protocol):
    """One keep-alive connection: one request at a time."""

    transport: asyncio.Transport

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.options = engine.options
        self.received = b""
        self.stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.fd = -1 if self.options.ssl_certfile else transport.get_extra_info("socket").fileno()
        self.engine.connections += 1

    def connection_lost(self, _error: Exception | None) -> None:
        if self.stream:
            self.engine.abort(self.stream)

    def send(self, data: bytes) -> None:
        """Writes now: the transport would at the end of the loop's turn, long after the stamp."""
        written = 0
        if self.fd >= 0 and not self.transport.get_write_buffer_size():
            try:
                written = os.write(self.fd, data)
            except OSError:
                pass  # full, or lost: the transport waits, or learns it
        if written < len(data):
            self.transport.write(data[written:])

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, rest = self.received.partition(b"\r\n\r\n")
            request_line, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            self.received = rest[length:]
            method, target, _ = request_line.split()
            self.answer(f"{method} {target.split('?')[0]}", headers, rest[:length])

    def answer(self, route: str, headers: dict[str, str], body: bytes) -> None:
        key = self.options.api_key
        if key and " /v1" in route and headers.get("authorization") != f"Bearer {key}":
            self.reply(401, {"error": "Unauthorized"})
        elif route in ("POST /v1/completions", "POST /v1/chat/completions"):
            self.complete(body, chat="chat" in route)
        elif route == "GET /health":
            self.reply(200, "")
        elif route == "GET /version":
            self.reply(200, {"version": VERSION})
        elif route == "GET /metrics":
            self.reply(200, self.engine.metrics())
        elif route in ("GET /fake/stamps", "GET /fake/streams"):
            self.reply(200, self.engine.stamps if "stamps" in route else self.engine.streams)
        elif route in ("POST /pause", "POST /resume") and not self.options.no_pause:
            self.engine.paused = route == "POST /pause"
            self.reply(200, "")
        elif route == "GET /v1/models":
            name, context = self.options.served_model_name, self.options.max_model_len
            card = {"id": name, "object": "model", "owned_by": "vllm", "root": name, "max_model_len": context}
            self.reply(200, {"object": "list", "data": [card]})
        else:
            self.reply(404, {"detail": "Not Found"})

    def complete(self, body: bytes, chat: bool) -> None:
        if self.options.fail == "http_500":
            self.refuse(500, "EngineCore encountered an issue.")
            return
        request = json.loads(body)
        if not request.get("stream"):
            if not chat and request["max_tokens"] == 1 and isinstance(request["prompt"][0], list):
                self.engine.batches.append(Batch(self, request["prompt"]))
            else:
                self.refuse(400, "this fake only streams")
            return
        stream = Stream(self, request, chat, self.engine.requests, self.options)
        if stream.prompt_tokens + stream.asked > self.options.max_model_len:
            self.refuse(
                400,
                f"This model's maximum context length is {self.options.max_model_len} tokens. However, you requested "
                f"{stream.asked} output tokens and your prompt contains {stream.prompt_tokens} input tokens.",
            )
            return
        self.stream = stream
        self.transport.write(HEAD)
        prompt = request["messages"] if chat else request["prompt"]
        if stream.stamp is not None:
            self.engine.stamps[first_token(prompt)] = stream.stamp
            self.engine.streams.append((time.perf_counter_ns(), stream.stamp))
        self.engine.admit(stream, hash_blocks(request.get("cache_salt"), prompt))

    def refuse(self, status: int, message: str) -> None:
        self.reply(status, {"error": {"message": message, "type": REASONS[status], "param": None, "code": status}})

    def reply(self, status: int, content: str | dict[str, Any]) -> None:
        text, kind = (content, "text/plain") if isinstance(content, str) else (json.dumps(content), "application/json")
        body = text.encode()
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nserver: uvicorn\r\ncontent-type: {kind}\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def break_off(self, how: str) -> None:
        self.stream = None
        if how == "early_close":
            self.transport.close()
            return
        error = {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
        self.transport.write(sse(json.dumps(error).encode()) + sse(b"[DONE]") + END_OF_REPLY)


# ------------------------------------------------------------------------------------------------ start, as vLLM starts


def log(line: str, process: str = "") -> None:
    print(f"{process}INFO 11-01 12:00:00 [fake_vllm.py:1] {line}", flush=True)


def log_compilation(kernel: str) -> None:
    print(
        f"(EngineCore pid={os.getpid()}) WARNING {time.strftime('%m-%d %H:%M:%S')} [jit_monitor.py:103] Triton kernel "
        f"JIT compilation during inference: {kernel}. This causes a latency spike; consider extending warmup to cover "
        "this shape/config.",
        flush=True,
    )


def fail_to_start(error: str) -> None:
    print("ERROR 11-01 12:00:00 [core.py:842] EngineCore failed to start.\nTraceback (most recent call last):")
    print('  File "vllm/v1/engine/core.py", line 833, in run_engine_core\n' + error)
    print("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}", flush=True)
    sys.exit(1)


def load(options: argparse.Namespace) -> None:
    """Takes its time, says what vLLM says, and fails where it should."""
    log(f"vLLM API server version {VERSION}")
    for name in options.log_env:
        log(f"{name}={os.environ.get(name)}")
    for line in options.log_line:
        print(line, flush=True)
    time.sleep(options.start_s)
    if options.fail == "oom_load":
        fail_to_start(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 0 has a total capacity of "
            "79.25 GiB of which 131.69 MiB is free. Including non-PyTorch memory, this process has 79.11 GiB memory "
            "in use. Of the allocated memory 78.52 GiB is allocated by PyTorch, and 14.10 MiB is reserved by PyTorch "
            "but unallocated."
        )
    if options.fail == "oom_kv":
        fail_to_start(
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
            "initializing the engine."
        )
    if options.fail.startswith("exit:"):
        sys.exit(int(options.fail.removeprefix("exit:")))
    while options.fail == "never_ready":
        time.sleep(1)
    fit_context(options)


def fit_context(options: argparse.Namespace) -> None:
    fits, memory = options.kv_cache_tokens, f"{options.kv_cache_tokens * 131_072 / 2**30:.2f} GiB"
    if options.max_model_len in ("auto", "-1"):
        options.max_model_len = min(MODEL_CONTEXT, fits)
        found = (
            f"full model context length {MODEL_CONTEXT} fits in"
            if fits >= MODEL_CONTEXT
            else f"reduced from {MODEL_CONTEXT} to {fits} to fit in"
        )
        log(f"Auto-fit max_model_len: {found} available KV cache memory ({memory} GPU)")
    options.max_model_len = int(options.max_model_len)
    if options.max_model_len > fits:
        fail_to_start(
            f"ValueError: To serve at least one request with the model's max seq len ({options.max_model_len}), "
            f"({options.max_model_len * 131_072 / 2**30:.2f} GiB KV cache is needed, which is larger than the "
            f"available KV cache memory ({memory}). Based on the available memory, the estimated maximum model length "
            f"is {fits}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the "
            "engine."
        )
    for engine in range(options.data_parallel_size):
        process = f"(EngineCore_DP{engine} pid={os.getpid()}) " if options.data_parallel_size > 1 else ""
        log(f"GPU KV cache size: {fits:,} tokens", process)
        requests = fits / options.max_model_len
        log(f"Maximum concurrency for {options.max_model_len:,} tokens per request: {requests:.2f}x", process)


async def serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    tls = None
    if options.ssl_certfile:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
    engine = Engine(options)
    server = await loop.create_server(
        lambda: Connection(engine), options.host, options.port, ssl=tls, backlog=8192, reuse_address=True
    )
    engine.start()
    gc.freeze()
    gc.disable()
    port = server.sockets[0].getsockname()[1]
    log(f"Starting vLLM API server on {'https' if tls else 'http'}://{options.host}:{port}")
    if options.max_num_batched_tokens < 1 << 30:
        log(f"Chunked prefill is enabled with max_num_batched_tokens={options.max_num_batched_tokens}.")
    log(
        f"Initializing an engine with config: ObservabilityConfig(jit_monitor_verbose={options.jit_monitor_verbose}), "
        f"compilation_config={{'max_cudagraph_capture_size': {options.captured}}}"
    )
    if options.compile_s:
        log("Kernel JIT monitor activated; monitored JIT compilations during inference will use mode=warn.")
    log("Application startup complete.")
    await ended.wait()


def numbers(listed: str) -> list[int]:
    return [int(each) for each in listed.split(",")]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.allow_abbrev = False
    vllm = parser.add_argument_group("as vLLM's; any other flag of vLLM is accepted and ignored")
    vllm.add_argument("--host", default="127.0.0.1")
    vllm.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    vllm.add_argument("--model", default="fake")
    vllm.add_argument("--served-model-name")
    vllm.add_argument("--max-model-len", default="131072")
    vllm.add_argument("--max-num-seqs", type=int, default=1 << 30)
    vllm.add_argument("--data-parallel-size", type=int, default=1, help="engines that log and count for themselves")
    vllm.add_argument("--max-num-batched-tokens", type=int, default=1 << 30)
    vllm.add_argument("--jit-monitor-verbose", action="store_true")
    vllm.add_argument("--enable-force-include-usage", action="store_true")
    vllm.add_argument("--ssl-certfile")
    vllm.add_argument("--ssl-keyfile")
    vllm.add_argument("--api-key", "--require-key", help="answer 401 under /v1 without it")
    fake = parser.add_argument_group("the fake's own")
    fake.add_argument("--ttft-s", type=float, default=0.0)
    fake.add_argument("--hold", type=Path, help="while this file exists, no request is admitted")
    fake.add_argument("--itl-s", type=float, default=0.01)
    fake.add_argument("--tokens-per-chunk", type=int, default=1)
    fake.add_argument("--stamp", action="store_true")
    fake.add_argument("--wakes", action="store_true")
    fake.add_argument("--compile-s", type=float, default=0.0)
    fake.add_argument("--compile-shapes", action="store_true")
    fake.add_argument("--compile-at", type=numbers, default=[])
    fake.add_argument("--compile-silently", action="store_true")
    fake.add_argument("--compile-steps", action="store_true")
    fake.add_argument("--captured", type=int, default=0)
    fake.add_argument("--kernel-cache", type=Path)
    fake.add_argument("--load-s", type=float, default=0.0)
    fake.add_argument("--no-pause", action="store_true", help="answer 404 to /pause, as without the development mode")
    fake.add_argument("--log-first-compilation", action="store_true")
    fake.add_argument("--prefill-tokens-per-s", type=float, default=0.0)
    fake.add_argument("--start-s", type=float, default=0.0)
    fake.add_argument("--kv-cache-tokens", type=int, default=205_184)
    fake.add_argument("--log-line", action="append", default=[], help="a line to print at start; repeatable")
    fake.add_argument("--log-env", action="append", default=[], help="a variable of the environment to print at start")
    fake.add_argument("--forget", type=numbers, default=[], help="requests to forget, by number")
    fake.add_argument("--fail", default="")
    fake.add_argument("--once", type=Path)
    fake.add_argument("--then", default="")
    options, _ignored = parser.parse_known_args(argv)
    if options.once:
        options.fail = options.then if options.once.exists() else options.fail
        options.once.touch()
    options.served_model_name = options.served_model_name or options.model
    return options


def main(argv: list[str]) -> None:
    options = parse(argv)
    load(options)
    uvloop.install()
    asyncio.run(serve(options))


# ----------------------------------------------------------------------------------------------------------- for tests


@contextlib.contextmanager
def running(*flags: str, timeout_s: float = 30.0) -> Iterator[str]:
    """Runs a server in a process of its own on a free port; gives its base URL, without a path.

    Raises RuntimeError with what it printed where it does not come to listen.
    """
    command = [sys.executable, __file__, "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        watchdog = threading.Timer(timeout_s, process.kill)
        watchdog.start()
        printed = []
        try:
            for line in process.stdout:
                printed.append(line)
                if "Starting vLLM API server on " in line:
                    break
            else:
                message = "the fake server did not start:\n" + "".join(printed)
                raise RuntimeError(message)
            watchdog.cancel()
            yield line.rpartition(" ")[2].strip()
        finally:
            watchdog.cancel()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
