"""Whether `search=sessions` finds the truth: the answer and the level that missed, each by a separate run.

    python benchmarks/sessions_search.py [--seeds 1] [OVERRIDE …]

The fake server runs 6 requests at once, so that turns wait for a place when more sessions are there than it can serve.
The search's answer is then measured by a run of its own, with another seed and on another server, and so is the lowest
number of sessions that missed. It fails if fewer than 98 % of the turns meet the SLO at the answer, which the search
lets pass with a probability of 5 %, or if 99.8 % or more do so where it said that they miss; and if a probe that
decided could not be trusted, as on a busy host. A separate run that is not VALID confirms nothing, and that fails too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from search import ask, doubts, load_requests, records  # noqa: E402

from vbench.metrics.goodput import meets_slo  # noqa: E402  the checkout is the package
from vbench.workload.capacity import FAILING, PASSING  # noqa: E402
from vbench.workload.probe import COLD  # noqa: E402

SLO = {"ttft_ms": 150.0}
LOAD = [
    f"engine.command=[python,{ROOT / 'tests' / 'fake_vllm.py'},--itl-s,0.02,--ttft-s,0.05,--max-num-seqs,6]",
    "workload=sessions_search", f"workload.slo={{ttft_ms: {SLO['ttft_ms']}, tpot_ms: null}}", "workload.output_len=8",
    "workload.conversations.first_len=64", "workload.conversations.next_len=16", "workload.conversations.turns=[4,12]",
    "workload.conversations.think_time_s=exponential:0.3",
]  # fmt: skip
CONFIRMING = 900  # turns that a separate run judges


def confirm(words: list[str], sessions: int, home: Path) -> tuple[float, int, str]:
    """A separate run with so many sessions: the share of its turns that meet the SLO, their number, and what makes the
    run one that confirms nothing.
    """
    count = COLD * sessions + CONFIRMING + sessions
    load = [f"workload.sessions={sessions}", f"workload.num_prompts={count}", "workload.search=null"]
    session, _ = ask(ROOT, [*words, *load, "workload.seed=12345"], home)
    return take_share(session, sessions)


def take_share(session: Path, sessions: int) -> tuple[float, int, str]:
    """What `confirm` returns, of the separate run in this session's folder."""
    (record,) = records(session)
    if doubt := doubts(record):
        return 0.0, 0, doubt
    requests = load_requests(session)
    steady = np.argsort(requests.sent, kind="stable")[COLD * sessions : -sessions]
    return float(meets_slo(requests, SLO)[steady].mean()), len(steady), ""


def search(words: list[str], home: Path) -> dict[str, float]:
    """The metrics of the search's record. Ends the script if the search gave no answer that can be trusted."""
    folder, seconds = ask(ROOT, words, home)
    found = next((record for record in records(folder) if "slo_sessions" in record["metrics"]), None)
    if found is None or found["invalid"]:
        sys.exit(f"no answer to be trusted: {found and found['invalid']}")
    metrics: dict[str, float] = found["metrics"]
    print(f"{metrics['slo_sessions']:.0f} sessions, {metrics['probes']:.0f} probes, {seconds:.0f} s", flush=True)
    return metrics


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    options, overrides = parser.parse_known_args()
    wrong = 0
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            words = [*LOAD, *overrides]
            found = search([*words, f"workload.seed={seed}"], Path(folder) / "search")
            for key, passes in (("slo_sessions", True), ("slo_level_failed", False)):
                if not (sessions := int(found.get(key, 0))):
                    continue
                share, turns, doubt = confirm(words, sessions, Path(folder) / key)
                right = not doubt and (share >= 1 - FAILING if passes else share < 1 - PASSING)
                wrong += not right
                told = f"the separate run is {doubt}" if doubt else f"{share:.2%} of {turns} turns of a separate run do"
                said = f"  {sessions} sessions {'meet' if passes else 'miss'} the SLO: {told}"
                print(f"{said}, {'confirmed' if right else 'NOT CONFIRMED'}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
