"""A campaign as a user runs it, with the fake server in vLLM's stead: records, MLflow, skipping, failing."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from doors import fake, run_folders, vbench
from records import record
from rich.console import Console

from vbench import tracking
from vbench.metrics.definitions import metrics
from vbench.schema.record import REQUESTS, TELEMETRY, Reason, Record, Requests
from vbench.schema.series import Series
from vbench.watch.outcome import summary

GRID = ("-m", "workload.num_prompts=4,8,16", "workload=random", "workload.input_len=[4,40]", "workload.output_len=20")
# Slow, so that on a busy machine the client is not late by comparison.
SERVER = fake("--itl-s", "0.08")
SHORT = ("workload=random", "workload.output_len=20")


def folders(home: Path, aside: bool = False) -> list[Path]:
    """The folders of the runs; also those of records that were put aside, as a busy host may make a run INVALID."""
    every = sorted(path.parent for path in home.glob("multirun/*/*/*/record.json"))
    return every if aside else run_folders(home)


def runs(home: Path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlruns/mlflow.db")
    return tracking.query()


def measured(*words: str, home: Path, **options: str):
    """A command that measures all that it asks for; its exit code tells whether all is VALID, as on an idle host."""
    ended = vbench(*words, cwd=home, **options)
    verdicts = {Record.load(folder).verdict for folder in folders(home)}
    assert verdicts <= {"VALID", "INVALID"}, ended.stdout + ended.stderr
    assert ended.returncode == ("INVALID" in verdicts), ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    home = tmp_path_factory.mktemp("campaign")
    return home, measured(*GRID, SERVER, home=home)


def test_points_that_need_the_same_server_start_one(campaign):
    home, ended = campaign
    assert len(list(home.glob("multirun/*/*/server*.log"))) == 1
    assert "starting 1 server for 3 points" in ended.stdout
    assert len(folders(home)) == 3


def test_every_metric_can_be_recomputed_from_the_request_file(campaign):
    for folder in folders(campaign[0]):
        record = Record.load(folder)
        again = metrics(Requests.load(folder / REQUESTS))
        assert again
        assert {key: record.metrics[key] for key in again} == pytest.approx(again)


def test_the_request_file_holds_what_was_asked_and_what_came(campaign):
    for folder in folders(campaign[0]):
        requests = Requests.load(folder / REQUESTS)
        assert len(requests) == Record.load(folder).config["workload"]["num_prompts"]
        assert requests.output_tokens.tolist() == [20] * len(requests)
        assert (np.diff(requests.offsets) == 20).all()


def test_each_run_is_filed_once_under_its_metrics(campaign, monkeypatch):
    home, _ = campaign
    filed = runs(home, monkeypatch)
    assert len(filed) == 3
    by_key = {Record.load(folder).run_key: Record.load(folder) for folder in folders(home)}
    assert set(filed["tags.vbench.run_key"]) == set(by_key)
    for _, row in filed.iterrows():
        record = by_key[row["tags.vbench.run_key"]]
        assert row["metrics.output_throughput"] == pytest.approx(record.metrics["output_throughput"], rel=1e-4)
        assert row["params.workload.num_prompts"] == record.config["workload"]["num_prompts"]


def test_a_fake_server_is_labelled_as_one(campaign):
    record = Record.load(folders(campaign[0])[0])
    assert record.environment["engine"] == "not vLLM: fake_vllm.py"
    assert record.server["version"].endswith("fake")
    assert record.config["engine"]["weights"] == "dummy"


def test_what_is_measured_is_not_measured_again_and_not_filed_twice(campaign, monkeypatch):
    home, _ = campaign
    before = {folder: (folder / "record.json").stat().st_mtime_ns for folder in folders(home)}
    ended = measured(*GRID, SERVER, home=home)
    assert "3 of 3 points already recorded" in ended.stdout
    assert "starting" not in ended.stdout
    assert {folder: (folder / "record.json").stat().st_mtime_ns for folder in folders(home)} == before
    assert len(runs(home, monkeypatch)) == 3


def test_a_rerun_measures_again_keeps_the_old_record_and_supersedes_it_in_mlflow(tmp_path, monkeypatch):
    point = ("workload=random", "workload.output_len=5", "workload.num_prompts=2", SERVER)
    measured(*point, home=tmp_path)
    measured(*point, "rerun=true", home=tmp_path)
    made = [Record.load(folder) for folder in folders(tmp_path, aside=True)]
    first, *_, second = sorted(made, key=lambda record: record.started_at)
    assert first.run_key == second.run_key
    filed = runs(tmp_path, monkeypatch)
    assert len(filed) == 1
    assert filed["metrics.duration"][0] == pytest.approx(second.metrics["duration"], rel=1e-4)


def test_repeats_are_interleaved_on_one_server_with_fresh_prompts_and_are_known_by_their_seeds(tmp_path):
    points = ("-m", "workload.num_prompts=6,2", "workload=random", "workload.output_len=20", SERVER)
    ended = measured(*points, "workload.repeats=3", home=tmp_path)
    assert "starting 1 server for 6 points" in ended.stdout
    made = sorted((Record.load(folder) for folder in folders(tmp_path)), key=lambda record: record.started_at)
    loads = [record.config["workload"] for record in made]
    assert [(load["seed"], load["num_prompts"]) for load in loads] == [(s, n) for s in range(3) for n in (2, 6)]
    assert {load["repeats"] for load in loads} == {1}
    valid = [each.config["workload"]["num_prompts"] for each in made if each.verdict == "VALID"]
    assert all(f"{valid.count(n)} of 3 VALID" in ended.stdout for n in (2, 6))
    assert ("±" in ended.stdout) is (max(valid.count(n) for n in (2, 6)) > 1)
    assert [record.metrics["server_prefix_cache_hits"] for record in made] == [0] * 6
    for again in ("workload.repeats=3", "workload.seed=0,1,2"):
        ended = measured(*points, again, home=tmp_path)
        assert "6 of 6 points already recorded" in ended.stdout
        assert "starting" not in ended.stdout
    assert len(folders(tmp_path)) == 6


def test_the_summary_leaves_an_invalid_repeat_out_of_the_mean_and_counts_it(capsys):
    records = []
    for seed, rate, reasons in ((4, 900, []), (5, 10, [Reason("late_sends", "")]), (3, 1000, [])):
        load = {"seed": seed}
        found = record(workload=load, output_throughput=rate, invalid=reasons, name=f"llama8b · n320 s{seed}")
        records.append(found)
    records.append(record(num_prompts=10, output_throughput=300, name="llama8b · n10"))
    Console(width=160).print(*summary(records), sep="\n")
    _, repeated, single, few, note = capsys.readouterr().out.strip().splitlines()
    # 950 ± 12.706 · 70.71 / √2
    assert " ".join(repeated.split()).startswith("llama8b · 320 prompts 950.0 ± 635.3 160.0 ± 0")
    assert repeated.strip().endswith("2 of 3 VALID late_sends")
    assert single.split() == [
        "llama8b",
        "·",
        "10",
        "prompts",
        "300.0",
        "160.0",
        "20.0",
        "needs",
        "299",
        "VALID",
    ]  # of 10 replies
    assert few.startswith("needs 299: ")
    assert "VALID repeats" in note


def test_the_summary_is_whole_at_80_columns(capsys):
    name = "llama8b · 2xh100 · tp2 · max_num_seqs=1024 · n10"
    reasons = [Reason("lagging_client", ""), Reason("compiled_under_load", "")]
    Console(width=80).print(*summary([record(num_prompts=10, name=name, invalid=reasons)]), sep="\n")
    told = capsys.readouterr().out
    assert "…" not in told
    assert "needs 299" in told


def test_a_session_that_fails_is_recorded_with_its_reason_and_its_siblings_go_on(tmp_path, monkeypatch):
    ended = vbench(
        "-m", "engine.extra_args=[--fail,oom_load],[]", "workload.num_prompts=2,4", "workload=random",
        "workload.output_len=5", SERVER, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "out of memory" in ended.stdout
    records = [Record.load(folder) for folder in folders(tmp_path)]
    assert sorted(record.verdict == "FAILED" for record in records) == [False, False, True, True]
    assert {record.failure.kind for record in records if record.failure} == {"oom_load"}
    filed = runs(tmp_path, monkeypatch)
    assert sorted(filed["tags.vbench.validity"]) == sorted(record.verdict for record in records)
    assert (filed["status"] == "FINISHED").equals(filed["tags.vbench.validity"] == "VALID")
    assert set(filed["tags.vbench.failure"].dropna()) == {"oom_load"}
    assert (filed["tags.vbench.validity"] == "FAILED").equals(filed["tags.vbench.failure"].notna())


def test_a_server_that_dies_under_load_fails_what_it_had_left_and_keeps_what_it_had(tmp_path):
    ended = vbench(
        "-m", "workload.num_prompts=2,40", "workload=random", "workload.output_len=5",
        fake("--itl-s", "0.05", "--fail", "die_after:20"), cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1
    records = {Record.load(f).config["workload"]["num_prompts"]: Record.load(f) for f in folders(tmp_path)}
    assert {count: record.verdict == "FAILED" for count, record in records.items()} == {2: False, 40: True}
    assert records[2].metrics["completed"] == 2


def test_a_start_without_load_records_the_context_that_fits_and_a_start_that_fails_why(tmp_path):
    ended = vbench(
        "-m", "+campaign=max_context", "model=tiny,llama8b", "hardware=cpu",
        "engine.extra_args=[--kv-cache-tokens,'60000'],[--fail,oom_kv]", fake(), cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout.count("starting 1 server for 1 point") == 4
    records = [Record.load(folder) for folder in folders(tmp_path)]
    fitted = [record for record in records if not record.failure]
    assert {record.failure.kind for record in records if record.failure} == {"oom_kv"}
    assert [record.server["max_model_len"] for record in fitted] == [60000, 60000]
    assert [record.server["full_context_requests"] for record in fitted] == [1, 1]
    assert [record.metrics for record in fitted] == [{}, {}]
    tried = ('["--kv-cache-tokens", "60000"]', '["--fail", "oom_kv"]')
    names = {f"{model} · cpu · tp1 · extra_args={args} · start" for model in ("tiny", "llama8b") for args in tried}
    assert {record.name for record in records} == names
    assert all(name in ended.stdout for name in names)


def test_requests_that_fail_make_a_run_invalid_and_not_a_crash(tmp_path):
    ended = vbench("workload.num_prompts=12", fake("--fail", "short_reply"), cwd=tmp_path)
    assert ended.returncode == 1
    assert "short_replies" in ended.stdout


def test_two_gpus_as_replicas_share_the_load(tmp_path):
    measured(
        *SHORT, "hardware=auto", "parallelism=dp", "workload.num_prompts=10", SERVER, home=tmp_path,
        gpus="NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3",
    )  # fmt: skip
    (folder,) = folders(tmp_path)
    record = Record.load(folder)
    assert record.name == "tiny · 2xh100 · dp2 · n10"
    assert record.environment["gpus"] == ["NVIDIA H100 80GB HBM3"] * 2
    assert np.bincount(Requests.load(folder / REQUESTS).replica).tolist() == [5, 5]
    assert record.metrics["server_generation_tokens"] == record.metrics["total_output_tokens"]


def test_a_session_can_be_run_by_hand_from_its_file(campaign, tmp_path):
    (file,) = campaign[0].glob("multirun/*/*/session.json")
    session = json.loads(file.read_text())
    session["runs"] = session["runs"][:1]
    (tmp_path / "session.json").write_text(json.dumps(session))
    ended = vbench(str(tmp_path / "session.json"), cwd=tmp_path, module="vbench.session")
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # a busy host may make it INVALID
    assert Record.load(tmp_path / session["runs"][0]["folder"]).failure is None


@pytest.mark.alone  # what it searches for is a latency
def test_a_search_finds_the_highest_concurrency_that_meets_the_slo(tmp_path, monkeypatch):
    words = (
        "workload=slo_search", "workload.lengths=random", "workload.input_len=16", "workload.output_len=2",
        "workload.slo={ttft_ms: 400, tpot_ms: null}",
        fake("--itl-s", "0.06", "--ttft-s", "0.1", "--max-num-seqs", "6"),
    )  # fmt: skip
    ended = vbench(*words, cwd=tmp_path)
    records = [Record.load(folder) for folder in folders(tmp_path)]
    (search,) = (record for record in records if record.parent is None)
    probes = [record for record in records if record.parent == search.run_key]
    assert len(probes) == search.metrics["probes"], ended.stdout
    # A request takes 180 ms, 120 of them to its first token. Of 12, six wait 180 ms for a place. The 13th waits 360 if
    # the six end together; if they end in turn, 14 still meet the SLO. A busy host may take a level or two away.
    highest, failed = search.metrics["slo_max_concurrency"], search.metrics["slo_level_failed"]
    assert 10 <= highest <= 14
    assert highest < failed <= highest + 3
    latencies: dict[float, list[float]] = {highest: [], failed: []}
    for probe in probes:
        latencies.setdefault(probe.metrics["slo_level"], []).append(probe.metrics["slo_p99_ttft_ms"])
    assert min(latencies[highest]) <= 400 < max(latencies[failed])
    assert len(list(tmp_path.glob("multirun/*/*/server.log"))) == 1
    filed = runs(tmp_path, monkeypatch)
    assert set(filed["tags.vbench.parent"].dropna()) == {search.run_key}
    told = vbench(cwd=tmp_path, module="vbench.analysis")
    assert told.returncode == 0, told.stderr
    assert "Highest load within the SLO" in told.stdout
    assert "TTFT ≤ 400 ms" in (tmp_path / "report" / "report.md").read_text()


def test_goodput_is_filed_with_the_run_that_asks_for_it(tmp_path):
    vbench(*SHORT, "workload.num_prompts=4", "workload.slo={ttft_ms: 9999}", SERVER, cwd=tmp_path)
    (folder,) = folders(tmp_path)
    found = Record.load(folder).metrics
    assert found["slo_attainment"] == 1
    assert found["request_goodput"] == pytest.approx(found["request_throughput"])


@pytest.mark.parametrize(("counter", "flag"), [("1", 1), ("0", 0)])
def test_what_the_servers_and_gpus_said_meanwhile_is_kept_and_filed(tmp_path, monkeypatch, counter, flag):
    measured(
        "hardware=auto", "parallelism=dp", "workload=random", "workload.num_prompts=4", "workload.output_len=60",
        fake("--itl-s", "0.04"), home=tmp_path, gpus="NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3",
        FAKE_GPU_ENERGY=counter,
    )  # fmt: skip
    (folder,) = folders(tmp_path)
    found = Record.load(folder).metrics
    assert found["gpu_energy_is_counter"] == flag
    ends = Requests.load(folder / REQUESTS).finished.max()
    series = Series.load(folder / TELEMETRY)
    if flag:  # what the counters tell between the samples around the run; a busy host is late with samples
        counters = [series.samples(f"gpu{gpu}/energy_j") for gpu in (0, 1)]
        expected = sum(np.diff(np.interp([0, ends], times, energy))[0] for times, energy in counters)
        assert expected == pytest.approx(300 * ends, rel=0.3)  # 100 W and 200 W
    else:
        expected = 300 * ends
    assert found["gpu_energy_j"] == pytest.approx(expected, rel=0.001)
    assert found["gpu_mean_power_w"] == pytest.approx(expected / ends, rel=0.001)
    assert found["output_tokens_per_joule"] == pytest.approx(240 / found["gpu_energy_j"])
    assert found["server_max_requests_running"] == 4
    assert found["gpu_mean_utilization"] == 90
    (row,) = runs(tmp_path, monkeypatch).to_dict("records")
    assert row["metrics.gpu_energy_j"] == pytest.approx(found["gpu_energy_j"], rel=1e-4)
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as store:
        points = dict(store.execute("SELECT key, count(*) FROM metrics WHERE key LIKE '%/%' GROUP BY key"))
    times, power = series.samples("gpu1/power_w")
    assert set(power) == {200}
    seconds = set(np.rint(times))  # in MLflow one point is kept of a second
    assert points["gpu0/power_w"] == points["gpu1/power_w"] == len(seconds) >= 3
    assert {"server/requests_running", "server/generation_tokens_per_s", "gpu0/sm_clock_mhz"} <= set(points)


def test_a_ladder_is_climbed_from_below_and_not_beyond_what_ran_out_of_memory(tmp_path, monkeypatch):
    ended = vbench(
        "-m", "engine.max_model_len=4000,2000", "workload.num_prompts=2", "workload=random", "workload.output_len=5",
        fake("--kv-cache-tokens", "1000"), cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    failed = {
        Record.load(folder).config["engine"]["max_model_len"]: Record.load(folder).failure
        for folder in folders(tmp_path)
    }
    assert {length: failure.kind for length, failure in failed.items()} == {2000: "oom_kv", 4000: "skipped_larger"}
    assert "failed with max_model_len=2000: oom_kv" in failed[4000].line
    assert len(list(tmp_path.glob("multirun/*/*/server.log"))) == 1
    assert set(runs(tmp_path, monkeypatch)["tags.vbench.failure"]) == {"oom_kv", "skipped_larger"}
    again = vbench(
        "-m", "engine.max_model_len=4000,2000", "workload.num_prompts=2", "workload=random", "workload.output_len=5",
        fake("--kv-cache-tokens", "1000"), cwd=tmp_path,
    )  # fmt: skip
    assert again.returncode == 1
    assert not list(tmp_path.glob("multirun/*/*/server.log.1"))


def test_weights_beyond_the_memory_of_the_gpus_are_recorded_and_not_started(tmp_path):
    ended = vbench(
        "model=llama405b", "hardware=1xh100", "engine.weights=dummy", SERVER, cwd=tmp_path,
        gpus="NVIDIA H100 80GB HBM3",
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    (folder,) = folders(tmp_path)
    assert Record.load(folder).failure.kind == "infeasible"
    assert not list(tmp_path.glob("multirun/*/*/server.log"))


def test_what_campaigns_measured_one_by_one_is_told_apart_where_one_command_asks_for_it_all(tmp_path):
    words = ("-m", "model=llama405b", "hardware=1xh100", "engine.weights=dummy", "workload.num_prompts=2", SERVER)
    for lengths in ("1000", "2000", "1000,2000"):  # none of them fits: recorded at once
        ended = vbench(*words, f"engine.max_model_len={lengths}", cwd=tmp_path, gpus="NVIDIA H100 80GB HBM3")
        assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stdout.count("1 of 1 points already recorded") == 2
    for length in (1000, 2000):
        assert f"llama405b · 1xh100 · tp1 · max_model_len={length} · 2 prompts" in ended.stdout
