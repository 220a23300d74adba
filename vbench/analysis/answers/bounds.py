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
    kinds = data.assign(bound=data["bound"].str.split(", ")).explode("bound")
    told = []
    for kind, rows in sorted(kinds.groupby("bound"), key=lambda each: -len(each[1])):
        names = (rows["model_label"] + " · " + rows["system_label"]).tolist()
        if kind != NOT_TOLD:
            told.append(f"{kind[0].upper()}{kind[1:]}, of {len(rows)} of {len(data)} systems at their highest load: "
                        f"{join_names(names)}. The first of them: {data.loc[rows.index[0], 'grounds']}.")  # fmt: skip
    return told
