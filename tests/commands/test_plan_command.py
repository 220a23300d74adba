"""`vbench plan` and hydra/launcher=plan as a user starts them, on a host without GPUs."""

import json

import doors
import pytest

from vbench.host.gpus import find_matching
from vbench.schema import Gpu, Hardware
from vbench.schema.errors import Refused

CARD = ("-m", "model=llama70b", "hardware=2xh100,4xh100", "workload.num_prompts=10,80,320")


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    home = tmp_path_factory.mktemp("plan")
    return home, doors.vbench("plan", *CARD, "prices={h100: 2.5}", "gpus={h100: 4}", cwd=home)


def test_a_laptop_is_told_what_the_grid_takes(planned):
    home, done = planned
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 sessions, 6 points; nothing is started" in done.stdout
    assert "llama70b · 4xh100 · tp4" in done.stdout
    assert "on 4 GPUs" in done.stdout
    told = json.loads((home / "multirun/default/plan/plan.json").read_text())
    assert told["points_to_measure"] == 6
    assert told["gpu_hours"]["low"] < told["gpu_hours"]["value"] < told["gpu_hours"]["high"]
    assert told["dollars"]["value"] == pytest.approx(2.5 * told["gpu_hours"]["value"])
    held = sum(each["gpus"] * each["held_s"]["value"] for each in told["sessions"])
    assert held == pytest.approx(3600 * told["gpu_hours"]["value"])
    assert all(each["fit"] == "fits" and each["kv_cache_tokens"] > 100_000 for each in told["sessions"])
    assert {each["start_s"]["basis"] for each in told["sessions"]} == {"assumed"}


def test_the_page_shows_each_figure_that_it_names_and_starts_no_session(planned):
    home, _ = planned
    page = (home / "multirun/default/plan/plan.md").read_text()
    figures = [part.partition(")")[0] for part in page.split("](")[1:]]
    assert figures
    assert all((home / "multirun/default/plan" / name).stat().st_size > 1000 for name in figures)
    assert not list(home.glob("multirun/**/session.json"))


def test_a_campaign_above_its_budget_is_refused_with_the_hours_planned(tmp_path):
    words = ("model=llama8b", "hardware=1xh100", "engine.weights=dummy", "launcher.budget_gpu_hours=0.01")
    done = doors.vbench(*words, cwd=tmp_path, gpus="NVIDIA H100 80GB HBM3")
    assert done.returncode == 2
    assert "launcher.budget_gpu_hours=0.01: the plan takes 0.0" in done.stderr
    assert not list(tmp_path.glob("multirun/**/session.json"))


def test_without_such_gpus_the_refusal_names_the_plan(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(Refused, match="hydra/launcher=plan"):
        find_matching(Hardware(2, Gpu("h100", "^NVIDIA H100", 81559)))


def test_a_server_that_runs_already_is_planned_without_a_start(tmp_path):
    there = ("engine=openai", "engine.base_url=http://127.0.0.1:9", "workload.num_prompts=8")
    ended = doors.vbench("hydra/launcher=plan", *there, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ": 1 point in" in ended.stdout  # right behind its name
