"""`vbench tune objective=cost`, of a search and of a plain load, most of whose sessions have records already.

A search on the fake server takes half a minute and a tuning six of them, so the one of searches needs no server at all;
what a search records is tested elsewhere. The one of a plain load measures the start that has no record.
"""

import json
from dataclasses import replace
from datetime import datetime, timezone

import doors
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import setup_globals

from vbench import compose as ours
from vbench.campaign import launcher
from vbench.campaign.tasklist import make_tasks
from vbench.campaign.tuning.options import Option
from vbench.campaign.tuning.world import Sessions
from vbench.plan.rules import check_run
from vbench.plan.tuning.objective import COST, Objective
from vbench.plan.tuning.trial import DEFAULT, Trial
from vbench.schema.record import Record
from vbench.session.context import blank_record

POINT = (
    "model=tiny", "engine.weights=dummy", "workload.lengths=random", "workload.input_len=8", "workload.output_len=4",
    "workload.slo={ttft_ms: 9000, tpot_ms: null}", "engine.restarts=3",
    doors.fake("--ttft-s", "0.02", "--itl-s", "0.1"),
)  # fmt: skip
SEARCH, PLAIN = "workload=slo_search", "workload=random"
# Words of the command for two GPUs against one; 3.6 $ an hour are 0.001 $ a second.
COSTS = ("tune={hardware: [1xh100]}", "objective=cost", "prices={h100: 3.6}", "hydra/launcher=inline")
GOODPUTS = {"1xh100": (8.0, 8.1, 7.9), "2xh100": (10.0, 9.9, 10.1)}  # requests/s within the SLO, start by start
GPUS = ",".join(["NVIDIA H100 80GB HBM3"] * 2)


def compose_point(load, hardware):
    words = [*POINT, load, f"hardware={hardware}", "experiment=tune"]
    if load == PLAIN:
        words.append("workload.num_prompts=4")
    return check_run(ours.run_config(compose("config", words, return_hydra_config=True)))


def write_records(load, monkeypatch, home):
    """The record of each start that the tuning asks for; returns the paths, those of two GPUs last."""
    monkeypatch.chdir(home)
    setup_globals()
    launcher.register()
    ours.register()
    with initialize_config_dir(str(ours.CONF), version_base="1.3"):
        one, two = (Option((), compose_point(load, hardware)) for hardware in GOODPUTS)
    world = Sessions(two, [one], Objective(COST, 4.0), {}, "inline")
    metric, paths = "slo_request_goodput" if load == SEARCH else "request_goodput", []
    for place, hardware in ((0, "1xh100"), (DEFAULT, "2xh100")):
        for start, goodput in enumerate(GOODPUTS[hardware]):
            (task,) = make_tasks([world.make_config(Trial(place, start))])
            (run,) = task.session.runs
            folder = home / task.folder / run.folder
            folder.mkdir(parents=True)
            record = blank_record(task.session, run, {"engine": "unknown"}, datetime.now(timezone.utc))
            paths.append(replace(record, metrics={metric: goodput}).save(folder))
    return paths


def tune(home, *words):
    ended = doors.vbench("tune", *POINT, *words, *COSTS, "hardware=2xh100", cwd=home, gpus=GPUS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads((home / "multirun/tune/tune/tune.json").read_text()), ended.stdout


def test_of_searches_one_gpu_with_four_fifths_of_the_goodput_of_two_costs_less(tmp_path, monkeypatch):
    write_records(SEARCH, monkeypatch, tmp_path)
    answer, told = tune(tmp_path, SEARCH)
    assert "starting 1 server" not in told
    assert (answer["verdict"], answer["objective"], answer["option"]) == ("winner", "cost", "hardware='1xh100'")
    assert answer["ratio"]["value"] == pytest.approx(1.6, rel=1e-3)  # of requests within the SLO per dollar
    (confirmed,) = answer["confirmations"]
    assert confirmed["scores"] == pytest.approx([8000, 8100, 7900])
    assert confirmed["default_scores"] == pytest.approx([5000, 4950, 5050])
    assert ": $31.3/M output tokens against $50/M output tokens" in told  # 4 tokens a request


def test_a_start_without_a_record_is_measured_and_costs_what_its_gpus_do(tmp_path, monkeypatch):
    *_, last = write_records(PLAIN, monkeypatch, tmp_path)
    last.unlink()
    answer, told = tune(tmp_path, PLAIN, "workload.num_prompts=4")
    assert told.count("starting 1 server") == 1
    (confirmed,) = answer["confirmations"]
    assert confirmed["scores"] == pytest.approx([8000, 8100, 7900])
    measured = Record.load(last.parent).metrics["request_goodput"]
    assert confirmed["default_scores"] == pytest.approx([5000, 4950, 500 * measured])
