"""Reads a server's log: facts of a successful start, or the cause of a failure. Pure: text in, facts out.

The words are those of vLLM 0.5 to 0.33, PyTorch, NCCL, the CUDA driver and the hub's client. What vLLM logs as INFO or
WARNING tells no failure: it warns of out-of-memory errors, and of ports in use that it goes around.
"""

from __future__ import annotations

import re
import signal
from typing import NamedTuple

from vbench.schema.failures import Kind

COLOUR = re.compile(r"\x1b\[[\d;]*m")
PREFIX = re.compile(
    r"(?:\[rank\d+\]:\s?)?(?:\([^)]*pid=\d+[^)]*\)\s*)*"  # (EngineCore_DP0 pid=387) (VllmWorker TP0 pid=675)
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)(?::\s+|\s[\d-]+ [\d:]+ (?:\[[^\]]*\]|\S+:\d+\])\s*))?"
)
ENGINE = re.compile(r"\(EngineCore\w*")
HARMLESS = {"DEBUG", "INFO", "WARNING"}
SHOWN = 70  # characters of a line on the screen
SAYS = {"INFO", "ERROR", "CRITICAL"}
PROGRESS = re.compile(r"\d%")
COMMAND = "$ "  # the log's first line: how the server was started
SOURCE = re.compile(r'File "|raise ')  # lines of a traceback that quote the program
RAISED = re.compile(r"^([\w.]+(Error|Exception)(: |$)|what\(\): )")
# One process of an engine says of another, or of itself, that it died: the reason stands elsewhere.
ECHO = re.compile(
    r"root cause|EngineDeadError|Engine process|Engine loop is not running|Executor failed|died unexpectedly|"
    r"Cancelled|Connection(Reset|Refused|Aborted)|BrokenPipe|EOFError|DistNetworkError|TCPStore",
    re.IGNORECASE,
)
DIED = re.compile(r"died unexpectedly|Failed core proc\(s\): \{.*-\d+|Segmentation fault|Segfault|Fatal Python error")

# The first kind whose pattern a line matches wins: when memory runs out on one GPU, the others lose their peer.
TELLING: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "oom_kv",
        re.compile(
            r"No available memory for the cache blocks|larger than the available KV cache memory|"
            r"larger than the maximum number of tokens that can be stored in KV cache|Cannot auto-fit max_model_len|"
            r"max_num_seqs .* exceeds available Mamba cache|"
            r"leaving none for the KV cache|on kv cache allocation is less than requested memory",  # on a CPU
            re.IGNORECASE,
        ),
    ),
    (
        "oom_load",
        re.compile(
            r"OutOfMemoryError|out of memory|CUBLAS_STATUS_ALLOC_FAILED|Cannot allocate memory|std::bad_alloc|"
            r"can't allocate memory|^MemoryError|on startup is less than desired CPU memory utilization"
        ),
    ),
    (
        "gpu_lost",  # memory that another process holds, or gives back meanwhile, is lost to us as well
        re.compile(
            r"Free memory on device .* is less than desired|Error in memory profiling|No CUDA GPUs are available|"
            r"Found no NVIDIA driver|CUDA unknown error|cudaGetDeviceCount|system not yet initialized|"
            r"CUDA driver initialization failed|Driver/library version mismatch|invalid device ordinal|"
            r"CUDA-capable device\(s\) is/are busy|NVMLError_|NVML: |GPU is lost|f[ae]ll(en)? off the bus|"
            r"\bXid\b|ECC error|NVLink error|hardware stack error|unspecified launch failure|unknown error"
        ),
    ),
    (
        "gpu_lost",
        re.compile(r"NCCL error(?!.*invalid)|NCCL WARN Cuda failure|nccl(System|Remote|Internal|UnhandledCuda)Error"),
    ),
    ("gpu_lost", re.compile(r"Watchdog caught collective operation timeout")),
    ("port_taken", re.compile(r"address already in use|EADDRINUSE", re.IGNORECASE)),
    (
        "unreachable",
        re.compile(
            r"couldn't connect to|LocalEntryNotFoundError|OfflineModeIsEnabled|Max retries exceeded with url|"
            r"name resolution|outgoing traffic has been disabled|huggingface.*(timed out|5\d\d Server Error)",
            re.IGNORECASE,
        ),
    ),
    (
        "server_died",  # what the host or its limits refuse says nothing of the options: the same command tries again
        re.compile(
            r"No space left on device|Disk quota exceeded|Read-only file system|Permission denied|"
            r"Insufficient space in /dev/shm|[Bb]us error|SIGBUS|Too many open files|"
            r"can't start new thread|Resource temporarily unavailable|[Tt]hread creation failed|pthread_create failed|"
            r"longer than 107 characters|AF_UNIX path too long"
        ),
    ),
    ("engine_error", re.compile(r"^Value error, |: error: (unrecognized|argument|the following)|No module named ")),
)


class Diagnosis(NamedTuple):
    kind: Kind
    line: str  # the line of the log that shows it


def diagnose(log: str, returncode: int) -> Diagnosis:
    """Why the server ended. Falls back to an error that was raised, then to how the process ended and its last line."""
    parsed = [
        (match["level"], line[match.end() :].strip()) for line in _split_lines(log) if (match := PREFIX.match(line))
    ]
    lines = [text for level, text in parsed if text and level not in HARMLESS and not SOURCE.match(text)]
    for kind, pattern in TELLING:
        for line in lines:
            if pattern.search(line):
                return Diagnosis(kind, line)
    if root := _find_root_cause(lines):
        return Diagnosis("engine_error", root)
    died = [line for line in lines if DIED.search(line)]
    last = died[:1] or [text for _, text in parsed if text][-1:] or ["(the log is empty)"]
    return Diagnosis("server_died", f"{_describe_end(returncode)}; {'its log' if died else 'last line'}: {last[0]}")


def find_last_words(log: str) -> str:
    """What the log said last of what it does, in at most SHOWN characters, without level, time and process.

    Warnings, single words (a dumped variable) and lines without a level (of a traceback, of Python's warnings) are told
    only if there is nothing else: one of them may be the last line for most of a start. Empty if nothing was said.
    """
    said = [
        (match["level"], line[match.end() :].strip()) for line in _split_lines(log) if (match := PREFIX.match(line))
    ]
    words = [(level, text) for level, text in said if any(map(str.isalpha, text)) and not text.startswith(COMMAND)]
    does = [text for level, text in words if (level in SAYS and " " in text) or PROGRESS.search(text)]
    last = [*(text for _, text in words), *does][-1:]
    return "".join(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…" for text in last)


def read_facts(log: str) -> dict[str, float]:
    """The memory and step sizes that vLLM reports, as far as the log has them.

    `kv_cache_gib`: memory for the KV cache on the GPU with the least (one of each server's workers logs it).
    `kv_cache_tokens`: tokens that this memory holds in requests of max_model_len tokens; where a server has several
    engines, each has a cache of its own, and this is the smallest of those that tell. vLLM 0.32 rounds it by that
    length, and with hybrid layers it depends on it, so only the tokens of one length can be compared.
    `full_context_requests`: how many requests of max_model_len tokens that cache holds at once.
    `max_num_batched_tokens`: tokens of a step at most. `max_cudagraph_capture_size`: tokens of the largest step that
    runs as a CUDA graph, padded to a captured size; 0 if none does.
    """
    memory = [float(gib) for gib in re.findall(r"Available KV cache memory: ([\d.]+) GiB", log)]
    tokens = _find_smallest(r"KV cache size: ([\d,]+) tokens", log)
    requests = _find_smallest(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.,]+)x", log)
    found: dict[str, float] = {"kv_cache_gib": min(memory)} if memory else {}
    if tokens is not None:
        found["kv_cache_tokens"] = int(tokens)
    if step := re.findall(r"Chunked prefill is enabled with max_num_batched_tokens=(\d+)", log):
        found["max_num_batched_tokens"] = int(step[-1])
    if graph := re.findall(r"max_cudagraph_capture_size': (\d+)", log):
        found["max_cudagraph_capture_size"] = int(graph[-1])
    return found | ({"full_context_requests": requests} if requests is not None else {})


def _find_smallest(pattern: str, log: str) -> float | None:
    """The least of what the engines of a server say, each last; None if none does."""
    said = {}
    for line in _split_lines(log):
        if match := re.search(pattern, line):
            said[(ENGINE.search(line) or [""])[0]] = float(match[1].replace(",", ""))
    return min(said.values(), default=None)


def read_memory(log: str) -> dict[str, float]:
    """GiB of a GPU by what vLLM's log says they went to, the most over its workers: `weights`, `CUDA graphs` (as it
    estimates them before the KV cache is made), `activations` and `CUDA context` (its non-torch memory).
    """
    usage = re.findall(r"([\d.]+) GiB for peak activation, ([\d.]+) GiB for non-torch memory", log)
    found = {
        "weights": re.findall(r"Model loading took ([\d.]+) GiB", log),
        "activations": [each[0] for each in usage],
        "CUDA graphs": re.findall(r"Estimated CUDA graph memory: ([\d.]+) GiB total", log),
        "CUDA context": [each[1] for each in usage],
    }
    return {name: max(map(float, sizes)) for name, sizes in found.items() if sizes}


def _split_lines(log: str) -> list[str]:
    return COLOUR.sub("", log).splitlines()


def _find_root_cause(lines: list[str]) -> str | None:
    """The last error raised before the first echo of it, or the last of all."""
    echoed = next((place for place, line in enumerate(lines) if ECHO.search(line)), len(lines))
    for part in (lines[:echoed], lines):
        raised = [line for line in part if RAISED.match(line) and not ECHO.search(line)]
        if raised:
            return raised[-1]
    return None


def _describe_end(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "killed by signal 9: by hand, or by the kernel as the host's memory ran out"
    return f"killed by signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
