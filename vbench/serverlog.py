"""What a server's log tells: facts of a good start, and why a bad one failed. Pure: text in, facts out."""

from __future__ import annotations

import re
from typing import NamedTuple

from vbench.failures import Kind

PREFIX = re.compile(r"^(\([^)]*pid=\d+\)\s*)?((INFO|WARNING|ERROR|CRITICAL)\s[\d-]+ [\d:]+ \[[^\]]*\]\s*)?")
RAISED = re.compile(r"^[\w.]*(Error|Exception|Interrupt): \S")
ECHOES = ("Engine core initialization failed", "Engine process failed to start", "See root cause above")

# The first kind whose pattern a line matches wins; order is from the most to the least specific.
TELLING: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "oom_kv",
        re.compile(
            r"No available memory for the cache blocks|larger than the (available KV cache memory|maximum number of "
            r"tokens that can be stored in KV cache)|max_num_seqs .* exceeds available Mamba cache blocks"
        ),
    ),
    (
        "oom_load",
        re.compile(
            r"OutOfMemoryError|out of memory|Free memory on device .* is less than desired|"
            r"Cannot allocate memory|std::bad_alloc|DefaultCPUAllocator: can't allocate"
        ),
    ),
    ("port_taken", re.compile(r"[Aa]ddress already in use")),
    (
        "gpu_lost",
        re.compile(
            r"No CUDA GPUs are available|fell off the bus|CUDA error: (unspecified launch failure|an illegal|"
            r"uncorrectable)|CUDA-capable device\(s\) is/are busy|NVML: (GPU is lost|Driver/library)"
        ),
    ),
)


class Diagnosis(NamedTuple):
    kind: Kind
    line: str  # the line of the log that tells


def diagnosis(log: str, returncode: int) -> Diagnosis:
    """Why the server ended. Falls back to the last raised error, then to the last line."""
    lines = [stripped for line in log.splitlines() if (stripped := PREFIX.sub("", line).strip())]
    for kind, pattern in TELLING:
        for line in lines:
            if pattern.search(line):
                return Diagnosis(kind, line)
    raised = [line for line in lines if RAISED.match(line) and not any(echo in line for echo in ECHOES)]
    if raised:
        return Diagnosis("engine_error", raised[-1])
    end = f"killed by signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    return Diagnosis("server_died", f"{end}; last line: {lines[-1] if lines else '(the log is empty)'}")


def facts(log: str) -> dict[str, float]:
    """What vLLM says of its memory, where the log has it.

    `kv_cache_tokens`, and `full_context_requests`: how many requests of max_model_len tokens that cache holds at once.
    """
    tokens = re.findall(r"KV cache size: ([\d,]+) tokens", log)
    requests = re.findall(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.,]+)x", log)
    found: dict[str, float] = {"kv_cache_tokens": int(tokens[-1].replace(",", ""))} if tokens else {}
    return found | ({"full_context_requests": float(requests[-1].replace(",", ""))} if requests else {})
