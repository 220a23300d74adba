"""Sessions that a system bears: hits and TTFT by turn over the number of sessions, and the answer of a search a GPU."""

import pytest
import records
from compared import found

from vbench.analysis import frame
from vbench.analysis.comparisons import within_slo
from vbench.analysis.options import Options
from vbench.schema.workload import Lengths


def talked(sessions, measured, ttft_ms, num_prompts=320, load=None, **metrics):
    load = {"sessions": sessions} | (load or {})
    made = records.record(gpus=2, tp=2, num_prompts=num_prompts, lengths=Lengths.conversations, workload=load)
    made.metrics.update(
        prefix_hits_implied=0.9,
        prefix_hits_measured=measured,
        prefix_hits_lost_to_eviction=0.9 - measured,
        median_ttft_turn1_ms=100.0,
        median_ttft_turn2_3_ms=ttft_ms,
        mean_active_sessions=float(sessions),
        **metrics,
    )
    return made


def test_hits_and_ttft_by_turn_are_drawn_over_the_sessions():
    sections = found(talked(8, 0.9, 20.0), talked(64, 0.3, 900.0))
    table = sections["conversations-llama8b"].table
    assert table.index.tolist() == ["2xh100 · tp2", "2xh100 · tp2"]
    assert table["sessions"].tolist() == ["8", "64"]
    assert table["lost to eviction"].tolist() == ["0.0%", "60.0%"]
    assert table["users a GPU"].tolist() == ["4.0", "32.0"]
    ttft = sections["conversations-ttft-llama8b"].data
    late = ttft[ttft["system_label"].str.endswith("turns 2 and 3")].sort_values("sessions_at_once")
    assert late["median_ttft_ms"].tolist() == [20.0, 900.0]
    hits = sections["conversations-hits-llama8b"].figure.points
    assert sorted({label.rpartition(" · ")[2] for label in hits["system_label"]}) == ["infinite cache", "measured"]


def extended(sessions, warmup_s):
    return talked(sessions, 0.9, 20.0, 100 * sessions, {"duration_s": 20.0, "warmup_s": warmup_s})


def test_a_load_that_takes_longer_to_warm_up_is_on_the_same_curve_and_the_caption_says_so():
    section = found(extended(8, 3.0), extended(64, 7.0))["conversations-llama8b"]
    assert section.data["system_label"].tolist() == ["2xh100 · tp2"] * 2
    assert "warmup_s from 3 to 7" in section.caption


def test_loads_of_one_number_of_sessions_that_were_measured_otherwise_are_two_systems():
    section = found(extended(8, 3.0), extended(8, 7.0), extended(64, 7.0))["conversations-llama8b"]
    assert len(set(section.data["system_label"])) == 2


def test_loads_of_one_number_of_sessions_and_unlike_numbers_of_prompts_are_no_repeats():
    loads = [(8, 100, 0.9), (8, 200, 0.7), (8, 400, 0.5), (64, 100, 0.3), (64, 200, 0.1)]
    section = found(*(talked(sessions, hits, 20.0, prompts) for sessions, prompts, hits in loads))[
        "conversations-llama8b"
    ]
    assert set(section.data["runs"]) == {1}
    rows = section.data[["system_label", "load", "prefix_hits_measured"]].itertuples(index=False, name=None)
    assert sorted(rows) == sorted((f"2xh100 · tp2 · {prompts} prompts", float(n), hits) for n, prompts, hits in loads)


def test_loads_without_sessions_have_no_such_section():
    assert not [slug for slug in found(records.record()) if slug.startswith("conversations")]


def test_a_search_for_sessions_tells_them_a_gpu_and_a_dollar():
    made = records.record(gpus=2, tp=2, lengths=Lengths.conversations, workload={"search": "sessions"})
    made.metrics.update(slo_sessions=48.0, probes=5.0)
    (section,) = within_slo.sections(frame.runs(records.table([made]), {"h100": 3.0}), Options(figures=[]))
    data = section.data
    assert data["highest"].tolist() == [48.0]
    assert data["users_per_gpu"].tolist() == [24.0]
    assert data["users_per_dollar"].tolist() == [pytest.approx(8.0)]
