"""A search's probes on disk: which are measured again, and which stand."""

import json

from builders import run_config
from doors import FAKE, fake, vbench

from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.record import RECORD, Record, is_aside
from vbench.session import sessionfile
from vbench.session.probing import find_best
from vbench.session.story import execute
from vbench.watch import Events
from vbench.workload.levels import Probe

SLO = {"ttft_ms": 20.0}  # of a server whose first token takes 50 ms: the first probe tells
LOAD = {"lengths": "random", "input_len": 8, "output_len": 2, "search": "max_concurrency", "slo": SLO}


def searched(folder, *flags, **workload):
    """Executes a search that one probe answers; its records, those put aside apart."""
    engine = {"weights": "dummy", "command": ["python", str(FAKE), "--itl-s", "0.05", "--ttft-s", "0.05", *flags]}
    (session,) = plan([(check_run(run_config(engine=engine, workload={**LOAD, **workload})), "fake")])
    sessionfile.write(session, folder)
    execute(session, folder, Events(folder))
    return records(folder)


def records(folder):
    """Of a session's folder: of searches, of their probes, and those put aside."""
    found = [path.parent for path in folder.glob(f"*/{RECORD}")]
    standing = [Record.load(folder) for folder in found if not is_aside(folder)]
    return (
        [each for each in standing if each.parent is None],
        [each for each in standing if each.parent],
        [Record.load(folder) for folder in found if is_aside(folder)],
    )


def starts(found):
    return {each.started_at for each in found}


def forget_the_answer(folder):
    """As if the search had been interrupted behind its probes."""
    for path in folder.glob(f"*/{RECORD}"):
        if Record.load(path.parent).parent is None:
            path.unlink()


def test_what_a_search_tells_of_a_level_comes_from_the_probe_that_counts_and_judged_most():
    """Not from one that a pause had hit, or that could not be trusted, however many requests it judged."""
    probes = [
        Probe(16, 100, 150, in_one_moment=True), Probe(16, 100, 100), Probe(16, 200, 200, trusted=False),
        Probe(32, 90, 100), Probe(32, 180, 200), Probe(32, 90, 90), Probe(64, 5, 9, trusted=False),
    ]  # fmt: skip
    assert find_best(probes, list(range(7))) == {16: 1, 32: 4, 64: 6}
    assert find_best(probes[:1] + probes[3:], list(range(5))) == {16: 0, 32: 2, 64: 4}


# A host that is busy makes probes INVALID, of which a level may then have several.


def test_an_interrupted_search_goes_on_behind_its_probes(tmp_path):
    (search,), probes, _ = searched(tmp_path)
    assert search.metrics["slo_max_concurrency"] == 0
    assert search.metrics["probes"] == len(probes)
    assert isinstance(search.metrics["probes"], int)
    assert search.metrics["slo_level_failed"] == min(each.metrics["slo_level"] for each in probes) == 1
    assert {each.metrics["slo_level"] for each in probes} == {4, 2, 1}
    assert search.metrics["slo_p99_ttft_ms"] >= 50
    assert probes[0].metrics["slo_steady_met"] == 0 < probes[0].metrics["slo_steady_requests"]
    forget_the_answer(tmp_path)
    (again,), same, aside = searched(tmp_path)
    valid = [probe for probe in probes if probe.verdict == "VALID"]
    assert starts(valid) <= starts(same)
    assert not starts(valid) & starts(aside)
    assert again.metrics["slo_max_concurrency"] == 0


def test_a_probe_that_was_invalid_is_kept_and_measured_again(tmp_path):
    _, probes, _ = searched(tmp_path)
    for path in tmp_path.glob(f"*/{RECORD}"):
        data = json.loads(path.read_text())
        if data["parent"]:
            path.write_text(json.dumps(data | {"invalid": [{"code": "late_client", "sentence": "x"}]}))
    forget_the_answer(tmp_path)
    _, again, aside = searched(tmp_path)
    assert starts(aside) & starts(probes)
    assert {each.verdict for each in aside} == {"INVALID"}
    assert not starts(aside) & starts(again)
    assert min(starts(again) - starts(probes)) > max(starts(probes))


def test_a_probe_under_which_the_engine_compiled_is_measured_again_at_once_and_kept(tmp_path):
    (search,), probes, aside = searched(tmp_path, "--compile-s", "0.6", "--compile-at", "12")
    (cold,) = (each for each in aside if "compiled_under_load" in {reason.code for reason in each.invalid})
    (warm,) = (each for each in probes if each.run_key == cold.run_key)
    assert warm.parent == cold.parent == search.run_key
    assert "compiled_under_load" not in {reason.code for reason in warm.invalid}
    assert "measured_again" in {reason.code for reason in warm.warnings}
    assert search.metrics["probes"] == len(probes)


def test_repeats_of_a_search_share_no_probe(tmp_path):
    searches, probes, _ = searched(tmp_path, repeats=2)
    assert len(searches) == 2
    assert {probe.parent for probe in probes} == {search.run_key for search in searches}
    assert len({probe.run_key for probe in probes}) == len(probes)
    seeds = [
        {probe.config["workload"]["seed"] for probe in probes if probe.parent == search.run_key} for search in searches
    ]
    assert all(seeds)
    assert not set.intersection(*seeds)  # levels of one search share a seed: their prompts differ by their load


def test_rerun_true_measures_valid_probes_again_and_keeps_the_earlier_ones(tmp_path):
    words = (
        "workload=slo_search", "workload.lengths=random", "workload.input_len=8", "workload.output_len=2",
        "workload.slo={ttft_ms: 20, tpot_ms: null}", fake("--itl-s", "0.05", "--ttft-s", "0.05"),
    )  # fmt: skip
    first = vbench(*words, cwd=tmp_path)
    assert first.returncode in (0, 1), first.stdout + first.stderr  # a busy host may make it INVALID
    assert "no level meets TTFT ≤ 20 ms; 1 misses: TTFT p99" in first.stdout.rstrip().splitlines()[-1]
    (folder,) = (path.parent for path in tmp_path.glob("multirun/*/*/session.json"))
    _, probes, _ = records(folder)
    again = vbench(*words, "rerun=true", cwd=tmp_path)
    assert again.returncode in (0, 1), again.stdout + again.stderr
    _, new, aside = records(folder)
    assert min(starts(new)) > max(starts(probes))
    assert starts(probes) <= starts(aside)
