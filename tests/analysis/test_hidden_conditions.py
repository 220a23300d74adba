"""Results that differ in one condition are never one column, and never divided without the word. Nor are campaigns."""

from __future__ import annotations

import dataclasses

import pytest
import records

from vbench.analysis import comparisons, frame
from vbench.analysis.comparisons import against, one_load
from vbench.analysis.labels import add_labels
from vbench.analysis.options import Options
from vbench.plan.load_rules import READERS
from vbench.schema import Weights

LOADS = (10, 80, 320)


def _facts(part, **changes):
    """A change to a record's environment, metrics or config.model."""

    def change(made):
        if part == "model":
            return dataclasses.replace(made, config=made.config | {"model": made.config["model"] | changes})
        return dataclasses.replace(made, **{part: getattr(made, part) | changes})

    return change


def _cpu(us_per_token):
    def change(made):
        seconds = us_per_token * 1e-6 * made.metrics["total_output_tokens"]
        return dataclasses.replace(made, metrics=made.metrics | {"client_cpu_s": seconds})

    return change


def _imported(**metadata):
    def change(made):
        facts = {"backend": "vllm", "metadata": metadata}
        return dataclasses.replace(made, source="imported", environment=made.environment | facts)

    return change


def _long(tokens):
    def change(made):
        total = {"total_input_tokens": tokens * made.metrics["completed"]}
        return dataclasses.replace(_imported()(made), metrics=made.metrics | total)

    return change


def _engine(**options):
    return {"engine": options}


# Each: the word, and the two sides as (arguments of a record, change to the record).
KINDS = {
    "env": ("VLLM_ATTENTION_BACKEND", (_engine(env={"VLLM_ATTENTION_BACKEND": "FLASHINFER"}), None), ({}, None)),
    "option": ("max_num_seqs", (_engine(max_num_seqs=64), None), ({}, None)),
    "backend": ("--attention-backend", (_engine(extra_args=["--attention-backend", "FLASHINFER"]), None), ({}, None)),
    "metadata": ("tokenizer", ({}, _imported(tokenizer="fast")), ({}, _imported())),
    "lengths": ("input_len", ({}, _long(1000)), ({}, _long(100))),
    "precision": ("FP8", ({}, _facts("model", kv_cache_dtype="fp8")), ({}, None)),
    "kv option": ("FP8", (_engine(extra_args=["--kv-cache-dtype=fp8"]), None), ({}, None)),
    "version": ("vllm 0.32.0", ({"engine_version": "vllm 0.32.0"}, None), ({}, None)),
    "host speed": ("host", ({}, _cpu(40.0)), ({}, _cpu(20.0))),
    "GPU clock": ("clock", ({}, _facts("metrics", gpu_mean_sm_clock_mhz=1980.0)),
                  ({}, _facts("metrics", gpu_mean_sm_clock_mhz=1410.0))),
    "prompts": ("prompts", ({}, _facts("environment", prompts="aaaa")), ({}, _facts("environment", prompts="bbbb"))),
    "weights": ("dummy", ({"weights": Weights.dummy}, None), ({}, None)),
    "context": ("max_model_len", (_engine(max_model_len=8000), None), ({}, None)),
    "host's CPU": ("EPYC 9654", ({}, _facts("environment", cpu="Xeon 8480")), ({}, None)),
    "driver": ("580", ({}, _facts("environment", driver="580.1")), ({}, None)),
    "torch": ("2.11", ({}, _facts("environment", torch="2.11.0")), ({}, _facts("environment", torch="2.10.0"))),
    "python": ("3.10", ({}, _facts("environment", python="3.12.3")), ({}, _facts("environment", python="3.10.1"))),
    "kernel": ("5.15", ({}, _facts("environment", kernel="6.8.0")), ({}, _facts("environment", kernel="5.15.0"))),
    "model's file": ("config_json", ({}, _facts("model", config_json={"block": 128})),
                     ({}, _facts("model", config_json={"block": 64}))),
    "neighbours": ("alone", ({}, lambda made: dataclasses.replace(
        made, config=made.config | {"launcher": made.config["launcher"] | {"exclusive": True}})), ({}, None)),
}  # fmt: skip


def side(name, what, experiment, seed=0):
    asked, change = what
    load = {"seed": seed}
    made = [
        records.record(num_prompts=n, experiment=experiment, session=f"s-{name}", workload=load, **asked) for n in LOADS
    ]
    return [change(each) if change else each for each in made]


@pytest.mark.parametrize(("tokens", "unlike"), [(1099, False), (1101, True)])
def test_imported_lengths_within_10_percent_are_one_condition(tokens, unlike):
    made = [_long(length)(records.record(num_prompts=320, gpus=gpus)) for gpus, length in ((1, 1000), (2, tokens))]
    assert (frame.TOKENS_IN in frame.runs(records.table(made)).conditions) is unlike


@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_differ_in_one_condition_are_never_one_column(kind):
    word, one, other = KINDS[kind]
    found = frame.runs(records.table([*side("one", one, "grid"), *side("other", other, "grid", seed=1)]))
    rows = add_labels(found.valid, found.conditions)
    assert len(set(rows["system_label"] + rows["model_label"])) == 2
    assert rows.groupby(["model_label", "system_label", "load"]).size().max() == 1
    assert any(word in label for label in rows["system_label"] + rows["model_label"])
    [section] = [each for each in one_load.sections(found, Options(figures=[])) if each.slug == "throughput-latency"]
    assert len(section.table) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_campaigns_that_differ_in_one_condition_are_never_divided_without_the_word(kind):
    word, one, other = KINDS[kind]
    new, old = (frame.runs(records.table(side(*each))) for each in (("one", one, "new"), ("other", other, "old")))
    [section] = against.sections(dataclasses.replace(new, baseline=old), Options(against="old", figures=[]))
    said = " ".join([section.caption, *section.notes])
    named = {"FP8": "FP8", "alone": "launcher.exclusive"}.get(word, word)
    assert named in said
    if section.table is None:
        assert "No point was measured on both sides" in said


READS = [(key, kind) for key, kinds in READERS.items() if key != "path" for kind in kinds]


@pytest.mark.parametrize(("key", "kind"), READS, ids=[f"{key}-{kind.name}" for key, kind in READS])
def test_loads_that_differ_in_a_length_that_they_read_are_neither_repeats_nor_divided(key, kind):
    short, long = (
        frame.runs(
            records.table([records.record(lengths=kind, workload={key: length, "seed": length}, experiment=name)])
        )
        for name, length in (("short", 16), ("long", 256))
    )
    both = frame.runs(
        records.table([records.record(lengths=kind, workload={key: length, "seed": length}) for length in (16, 256)])
    )
    labels = add_labels(both.valid, both.conditions)
    assert sorted(labels["system_label"]) == [f"1xh100 · tp1 · {key}={length}" for length in (16, 256)]
    [section] = against.sections(dataclasses.replace(long, baseline=short), Options(against="short", figures=[]))
    assert section.table is None
    assert f"they differ in workload.{key} (256 against 16)" in section.notes[0]


def test_alike_campaigns_are_divided_and_nothing_is_said_of_hosts():
    new, old = (
        frame.runs(records.table(side(*each)))
        for each in (("one", ({}, _cpu(22.0)), "new"), ("other", ({}, _cpu(20.0)), "old"))
    )
    [section] = against.sections(dataclasses.replace(new, baseline=old), Options(against="old", figures=[]))
    assert section.table is not None
    assert section.notes == ()
    assert "They differ in nothing that was asked for" in section.caption


# ---- all of a store: several campaigns


def test_two_campaigns_of_one_system_are_two_curves():
    monday = [records.record(num_prompts=n, experiment="monday", output_throughput=20.0 * n) for n in (10, 160, 640)]
    friday = [records.record(num_prompts=n, experiment="friday", output_throughput=30.0 * n) for n in (10, 80, 320)]
    found = frame.runs(records.table([*monday, *friday]))
    rows = add_labels(found.valid, found.conditions)
    assert rows.groupby("system_label")["load"].apply(sorted).to_dict() == {
        "1xh100 · tp1 · experiment=friday": [10, 80, 320],
        "1xh100 · tp1 · experiment=monday": [10, 160, 640],
    }
    sections = {each.slug: each for each in comparisons.sections(found, Options(figures=[]))}
    assert "Joins 2 experiments: friday, monday; experiment=… chooses one." in sections["throughput-latency"].notes
    assert "Joins 2 experiments: friday, monday; experiment=… chooses one." in sections["curves-llama8b"].notes


def test_systems_of_several_campaigns_are_compared_and_the_join_is_said():
    made = [records.record(experiment="monday"), records.record(experiment="friday", gpus=2, tp=2)]
    found = frame.runs(records.table(made))
    sections = {each.slug: each for each in comparisons.sections(found, Options(figures=[]))}
    assert sections["throughput-latency"].table.index.tolist() == ["1xh100 · tp1", "2xh100 · tp2"]
    for slug in ("throughput-latency", "scaling"):
        assert any(note.startswith("Joins 2 experiments") for note in sections[slug].notes)


def test_a_valid_run_that_a_later_one_supersedes_is_named():
    earlier = records.record(output_throughput=9000.0, started="2026-11-19T10:00:00+00:00")
    found = frame.runs(records.table([earlier, records.record(output_throughput=9100.0)]))
    assert found.valid["output_throughput"].tolist() == [9100]
    note = next(each for each in comparisons.sections(found, Options(figures=[])) if each.slug == "left-out").notes[0]
    assert note == (
        "Superseded by a later VALID run of the same point and experiment: "
        "llama8b · 1xh100 · tp1 · 320 prompts of 2026-11-19 10:00 (run0)."
    )


# ---- precision


def test_models_of_unlike_precision_say_theirs_in_every_label_and_caption():
    fp8 = _facts("model", weight_dtype="fp8")
    llama = [fp8(records.record(num_prompts=n)) for n in LOADS]
    mistral = [records.record(model="mistral7b", num_prompts=n) for n in LOADS]
    found = frame.runs(records.table([*llama, *mistral]))
    sections = {each.slug: each for each in comparisons.sections(found, Options(figures=[]))}
    assert sections["throughput-latency"].table.columns.tolist() == [
        "llama8b · FP8 weights",
        "mistral7b · BF16 weights",
    ]
    assert "KV cache in BF16" in sections["throughput-latency"].caption
    drawn = sections["curves-on-1xh100"].figure
    assert set(drawn.points["system_label"]) == {"llama8b · FP8 weights · tp1", "mistral7b · BF16 weights · tp1"}
    for model, precision in (("llama8b", "FP8"), ("mistral7b", "BF16")):
        assert f"weights in {precision} · KV cache in BF16" in sections[f"curves-{model}"].caption
        assert f"weights in {precision}" in sections[f"curves-{model}"].figure.subtitle
