"""Options that only some versions of vLLM have. Pure; versions are as in `identity.ask_engine_version`."""

from __future__ import annotations

import re
from collections.abc import Mapping

JIT_MONITOR_VERBOSE = "--jit-monitor-verbose"
SINCE: Mapping[str, tuple[int, int]] = {  # the first version whose source we read and found the option in
    JIT_MONITOR_VERBOSE: (0, 26),
}
RELEASE = re.compile(r"vllm(?:-cpu)? (\d+)\.(\d+)\.")


def has_option(engine_version: str, option: str) -> bool:
    """Whether this engine accepts the option; False for other engines and for versions that we cannot tell.

    Development builds ("vllm 0.1.dev1+g0057b59") count by their number, so they are not trusted with new options.
    """
    release = RELEASE.match(engine_version)
    return release is not None and (int(release[1]), int(release[2])) >= SINCE[option]
