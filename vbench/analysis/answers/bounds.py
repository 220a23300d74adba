"""What bounds the systems at their highest load, counted by kind. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.analysis.answers.words import find_data, join_names
from vbench.metrics.bounds import NOT_TOLD

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section


def sentences(_: Runs, found: list[Section], __: Options) -> list[str]:
    """One for each kind of bound, with the system that shows it first; none if no server was watched."""
    data = find_data(found, "bounds")
    if data.empty:
        return []
    each_kind = {key: data[key].str.split(mark) for key, mark in (("bound", ", "), ("grounds", "; "))}
    told_of = data["bound"] != NOT_TOLD  # the grounds of these are a list of what was looked at
    kinds = data.assign(**each_kind)[told_of].explode(["bound", "grounds"])
    told = []
    for kind, rows in sorted(kinds.groupby("bound"), key=lambda each: -len(each[1])):
        names = (rows["model_label"] + " · " + rows["system_label"]).tolist()
        load = "highest load" if (rows["load"] == rows["highest"]).all() else "highest load that was watched"
        systems = f"of {len(rows)} of {len(data)} systems at their {load}" if len(data) > 1 else f"at its {load}"
        first = "The first of them: " if len(rows) > 1 else ""
        grounds = first + rows["grounds"].iloc[0]
        told.append(f"{kind[0].upper()}{kind[1:]}, {systems}: {join_names(names)}. {grounds[0].upper()}{grounds[1:]}.")
    return told
