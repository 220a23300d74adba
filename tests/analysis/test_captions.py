"""What captions, labels and columns say of the loads that were measured, and nothing of settings that had no effect."""

import dataclasses
import warnings

import pandas as pd
import pytest
import records
from sections import curve, section

from vbench.analysis import comparisons, frame, page
from vbench.analysis.comparisons import against
from vbench.analysis.comparisons.bounds import explain
from vbench.analysis.labels import add_labels, shared_conditions
from vbench.analysis.options import Options
from vbench.schema import Lengths
from vbench.tracking.markdown import markdown_table

CLOSED = {"search": "max_concurrency", "slo": {"ttft_ms": 500.0}}


def seen(*made):
    return frame.runs(records.table(list(made)))


def test_a_search_is_captioned_by_the_loop_that_it_varied():
    made = records.record(metrics={"slo_max_concurrency": 22, "probes": 3, "total_output_tokens": 9.0})
    made.config["workload"] |= CLOSED
    found = seen(made)
    (said,) = [each.caption for each in comparisons.sections(found, Options()) if each.slug == "within-slo"]
    assert "closed loop whose max_concurrency was searched" in said
    assert "all prompts at once" not in said


def test_conversations_do_not_arrive_at_once():
    found = seen(records.record(lengths=Lengths.conversations))
    assert "all prompts at once" not in shared_conditions(found.valid)
    assert "all prompts at once" in shared_conditions(seen(records.record()).valid)


def test_lengths_of_random_loads_are_no_condition_of_loads_that_do_not_read_them():
    random = {"lengths": Lengths.random, "workload": {"input_len": 512, "output_len": 64}}
    made = [records.record(), records.record(**random), records.record(lengths=Lengths.trace, num_prompts=8)]
    labels = add_labels(seen(*made).valid, seen(*made).conditions)
    assert not labels["system_label"].str.contains("put_len").any()  # one value of those that have any
    made.append(records.record(lengths=Lengths.random, workload={"input_len": 256, "output_len": 32}, num_prompts=9))
    for each, digest in zip(made, ("a1", "b2", "c3", "b2"), strict=True):
        each.environment["prompts"] = digest
    found = seen(*made)
    labels = add_labels(found.valid, found.conditions)
    labels = labels[labels["num_prompts"] != 9]
    told = dict(zip(labels["workload.lengths"], labels["system_label"], strict=True))
    assert not any(word in told[kind] for kind in ("sharegpt", "trace") for word in ("input_len", "output_len"))
    assert "input_len=512 · output_len=64" in told["random"]
    assert not any("prompts=" in each for each in told.values())


def test_prompts_of_one_kind_that_differ_are_told_apart():
    made = [records.record(experiment=name) for name in ("one", "two")]
    for each in made:
        each.environment["prompts"] = each.experiment
    found = seen(*made)
    assert set(add_labels(found.valid, found.conditions)["system_label"].str.contains("prompts=")) == {True}


def test_a_comparison_of_frames_that_were_made_column_by_column_gives_no_warning():
    new, old = seen(*curve()), seen(*curve(slower=1.1, experiment="before"))
    columns = [f"engine.of_other_runs_{n}" for n in range(150)]
    fragmented = [each.valid.join(pd.DataFrame({name: range(3)}) for name in columns) for each in (new, old)]
    sides = [dataclasses.replace(each, valid=rows) for each, rows in zip((new, old), fragmented, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.PerformanceWarning)
        asked = dataclasses.replace(sides[0], baseline=sides[1])
        assert against.sections(asked, Options(against="before"))[0].data is not None
        add_labels(sides[0].valid, new.conditions)
        frame.ensure_columns(new.valid, columns).assign(side="new")


@pytest.mark.parametrize(("limited", "told"), [(0.5, "Front end: its event loop"), (0.0, "At no system")])
def test_only_bounds_that_occur_are_explained(limited, told):
    made = records.record()
    made.metrics.update({"server_frontend_limited": limited, "server_max_requests_running": 64.0})
    caption = section(comparisons.sections(seen(made), Options()), "bounds").caption
    assert told in caption
    assert len(caption.split()) < 60
    assert "Scheduler limit" not in caption


def test_bounds_of_one_meaning_are_explained_together():
    assert explain(["KV bandwidth, weights bandwidth"]).startswith("Weights bandwidth, KV bandwidth: at the data")


def test_columns_of_words_are_left_aligned_in_both_reports():
    table = pd.DataFrame({"grounds": ["the cache was full", ""], "gpu": ["1xh100", "x"], "n": ["9.6 ± 0.1", "OOM"]})
    table.index.name = "system"
    assert page.text_columns(table) == [True, True, True, False]
    rule = markdown_table(page.table_head(table), page.table_rows(table), page.text_columns(table)).splitlines()[1]
    assert rule == "|---|---|---|---:|"
    assert page.text_columns(table.iloc[:0]) == [True, False, False, False]
