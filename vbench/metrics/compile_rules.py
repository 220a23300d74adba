"""The rules of `metrics.validity` about an engine that compiled during a run. Pure.

A compilation in the run's window makes the run INVALID, whether or not a pause shows: its figures are those of a cold
engine. The one exception needs a log that has every compilation, with its time: if all of them together changed no
quoted figure by more than COMPILED_SHARE (`metrics.compiling`), that is within the scatter of repeats, and the run is
VALID with a warning that names the share. The rule is the same for each attempt at a run.
"""

from __future__ import annotations

from collections.abc import Sequence

from vbench.schema.record import Reason

STALL_TOKENS = 10  # median inter-token latencies: a shorter pause of all requests is not reported
LOG_CUT = Reason(
    "log_cut",
    "a server's log was cut or removed during the run: whether the engine compiled under load is not known",
)
NAMED_KERNELS = 3  # listed in a sentence
COMPILED_SHARE = 0.01  # of any quoted figure: what compilations may have cost a run that is still to be trusted


def compiled_under_load(found: dict[str, float], compiled: Sequence[str]) -> Reason | None:
    """The log has compilations within the run."""
    if not compiled:
        return None
    pause_ms = found.get("longest_compile_stall_ms", 0.0)
    pause = f", and no token came for {pause_ms / 1e3:.1f} s meanwhile" if pause_ms else ""
    sentence = (
        f"the engine compiled under load ({_list_kernels(compiled)}){pause}: these figures include its warming up; "
        "repeat with rerun=invalid, so that its compile cache is warm"
    )
    return Reason("compiled_under_load", sentence)


def compiled_unlogged(found: dict[str, float]) -> Reason | None:
    """An engine that compiles on demand paused, and nothing explains it."""
    # Without --jit-monitor-verbose vLLM logs a kernel's first compilation only, and Triton compiles it again for other
    # constants. With it, libraries that choose kernels at first use (cuBLAS, NCCL) are still silent.
    pause_ms = found.get("longest_unexplained_stall_ms", 0.0)
    if pause_ms <= STALL_TOKENS * found.get("median_itl_ms", 0.0):
        return None
    sentence = (
        f"no token came from any request for {pause_ms / 1e3:.1f} s, neither prefill nor log explains it, and this "
        "engine compiles kernels when it first needs them: these figures may include its warming up"
    )
    return Reason("compiled_under_load", sentence)


def compiled_briefly(found: dict[str, float], compiled: Sequence[str]) -> Reason | None:
    """The log has compilations within the run, and their known cost is small."""
    share = found.get("compile_share")
    if not compiled or share is None or share > COMPILED_SHARE:
        return None
    sentence = (
        f"the engine compiled or loaded {len(compiled)} kernels under load ({_list_kernels(compiled)}): without the "
        f"pauses at these moments no figure would be more than {share:.1%} better"
    )
    return Reason("compiled_briefly", sentence)


def _list_kernels(compiled: Sequence[str]) -> str:
    names = list(dict.fromkeys(compiled))
    more = len(names) - NAMED_KERNELS
    return ", ".join(names[:NAMED_KERNELS]) + (f" and {more} more" if more > 0 else "")
