"""A moment that made a level miss the SLO once, though the server may bear many times as much. Pure.

A pause of the engine makes requests miss that are in flight together, of a low level perhaps all of them. So does a
load that is too high, but that one does it again. A level that bounds the answer and whose misses lie in one moment is
therefore asked once more. If it passes then, the probe that the moment hit counts for nothing. Only one probe of a
search is set aside: a pause that comes again is the server's own, and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vbench.workload.levels import Probe
from vbench.workload.question import OWN, meets_itself

GROUP = 2  # misses: one alone always lies in one moment


def find_set_aside(probes: Sequence[Probe]) -> int | None:
    """Which probe of a search counts for nothing: the first that a moment failed, and whose level passed afterwards."""
    refuted = (place for place, probe in enumerate(probes) if _is_refuted(probe, probes[place + 1 :]))
    return next(refuted, None)


def set_aside(probes: Sequence[Probe], place: int | None) -> list[Probe]:
    """The probes, this one as one that cannot be trusted."""
    return [replace(probe, trusted=False) if each == place else probe for each, probe in enumerate(probes)]


def find_suspect(probes: Sequence[Probe], level: float) -> int | None:
    """Which probe alone made this level miss the SLO, in one moment; None if no probe or more than one tells of it."""
    told = [place for place, probe in enumerate(probes) if probe.level == level and probe.trusted and probe.of]
    return told[0] if len(told) == 1 and _is_incident(probes[told[0]]) else None


def _is_refuted(probe: Probe, later: Sequence[Probe]) -> bool:
    others = [each for each in later if each.level == probe.level]
    trusted = [each for each in others if each.trusted]
    met, of = sum(each.met for each in trusted), sum(each.of for each in trusted)
    clear = not any(each.saturated or each.growing for each in others)
    return _is_incident(probe) and clear and of >= OWN and meets_itself(met, of)


def _is_incident(probe: Probe) -> bool:
    passing = probe.in_one_moment and not probe.saturated
    return passing and probe.trusted and probe.of - probe.met >= GROUP and not meets_itself(probe.met, probe.of)
