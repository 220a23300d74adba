"""How long the GPUs were held, and how much of that time was measuring: the cost of a campaign and its yield."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.frame import LENGTHS, START, ensure_columns
from vbench.analysis.section import Section

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

WARMUP = "workload.warmup_s"


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row for each session; no section if no session recorded since when it held GPUs."""
    table = gpu_time(runs.all[~runs.all["session"].isin(runs.searches["session"])])
    if table.empty:
        return []
    held, measuring = table["held GPU s"].sum(), table["measuring GPU s"].sum()
    caption = (
        f"Of {held:,.0f} GPU seconds held, {measuring:,.0f} were under load ({measuring / held:.0%}). Held: from the "
        "lease to the end of the last load, or of the start where nothing was sent; the rest went into starting "
        "servers, warming them up and the gaps between points. Sessions that search are left out, because their probes "
        "are separate runs."
    )
    words = table.assign(**{key: table[key].map("{:,.0f}".format) for key in ("held GPU s", "measuring GPU s")})
    words["share"] = table["share"].map("{:.0%}".format)
    return [Section("gpu-time", "GPU time", caption, words.set_index("session"), table)]


def gpu_time(rows: pd.DataFrame) -> pd.DataFrame:
    """GPU seconds of each session, held and under load: session, points, held GPU s, measuring GPU s, share.

    A resumed session held its GPUs several times; these are summed. A lease that ended before its loads could, because
    the host's clock was set back, is left out.
    """
    known = rows[rows["held_since"].notna() & (pd.to_numeric(rows["gpus"], errors="coerce") > 0)]
    warmup_s = pd.to_numeric(ensure_columns(known, [WARMUP])[WARMUP], errors="coerce").fillna(0.0)
    load_s = (known["duration"] + warmup_s).fillna(0.0)  # a duration begins after the warm-up
    spent_s = load_s.where(
        known[LENGTHS] != "none", known[START].fillna(0.0)
    )  # a run without load consists of its start
    timed = known.assign(load_s=load_s, end=known["start_time"] + pd.to_timedelta(spent_s, unit="s"))
    leases = [_lease(str(session), lease) for (session, _), lease in timed.groupby(["session", "held_since"])]
    made = [each for each in leases if each["held GPU s"] >= each["measuring GPU s"]]
    if not made:
        return pd.DataFrame(columns=["session", "points", "held GPU s", "measuring GPU s", "share"])
    table = pd.DataFrame(made).groupby("session", as_index=False).sum()
    return table.assign(share=table["measuring GPU s"] / table["held GPU s"])


def _lease(session: str, lease: pd.DataFrame) -> dict[str, Any]:
    held_s = (lease["end"].max() - pd.Timestamp(lease["held_since"].iloc[0])).total_seconds()
    gpus = int(lease["gpus"].iloc[0])
    return {
        "session": session,
        "points": len(lease),
        "held GPU s": gpus * held_s,
        "measuring GPU s": gpus * float(lease["load_s"].sum()),
    }
