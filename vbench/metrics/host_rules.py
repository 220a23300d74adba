"""The rules of `metrics.validity` about a server that got less CPU than it wanted (`metrics.contention`). Pure."""

from __future__ import annotations

from vbench.schema.record import Reason

STARVED_SHARE = 0.10  # of the run; throughput was lower by the share and at most 8 % more (benchmarks/starved.py)
CONTENDED_SHARE = 0.05  # below it, its throughput is off by less than 10 %
OTHERS = {
    "host_cpu_others_share": "other processes used {:.0%} of its cores",
    "host_cpu_stolen_share": "other virtual machines were given {:.0%} of its cores",
    "server_cpu_throttled_share": "the CPU quota of its control group was used up for {:.0%} of the time",
}
CLIENT = {"host_cpu_client_share": "the load client, which has no cores of its own here, used {:.0%} of its cores"}


def starved_host(found: dict[str, float], others: str = "") -> Reason | None:
    """`others` names the processes that used most, where they can be seen."""
    share = found.get("server_starved_share", 0.0)
    if share < STARVED_SHARE:
        return None
    cause = _find_cause(found, OTHERS)
    if others and cause.startswith("other processes"):
        cause += f" (most: {others})"
    sentence = f"for {share:.0%} of the run the server was ready to run and got no CPU: {cause}"
    return Reason("starved_host", f"{sentence}; its throughput is lower, and its latencies longer, by as much or more")


def contended_host(found: dict[str, float]) -> Reason | None:
    alone = found.get("server_starved_share", 0.0)
    share = alone + found.get("server_starved_by_client_share", 0.0)
    if alone >= STARVED_SHARE or share < CONTENDED_SHARE:
        return None
    cause = _find_cause(found, OTHERS | CLIENT)
    return Reason("contended_host", f"for {share:.1%} of the run the server waited for a CPU: {cause}")


def _find_cause(found: dict[str, float], causes: dict[str, str]) -> str:
    """What took most of its time, in words."""
    key = max(causes, key=lambda each: found.get(each, 0.0))
    return causes[key].format(found.get(key, 0.0))
