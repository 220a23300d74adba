"""What people see of a campaign in MLflow's own pages, in a real browser on a real server.

VBENCH_SCREENSHOTS=docs/mlflow keeps the pictures there; else they are thrown away.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
from pathlib import Path

import browser
import mlflow_server
import pytest
import results

from vbench import ingest, tracking
from vbench.analysis import __main__ as analysis

MODELS, SIZES, LOADS = ("llama8b", "mistral7b"), (1, 2, 4), (10, 80, 320)
SYSTEMS = len(MODELS) * len(results.CHIPS) * len(SIZES)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """The addresses that ingest and analysis print for a campaign of which one run failed: runs and report."""
    folder = tmp_path_factory.mktemp("pages")
    tree(folder)
    with mlflow_server.serving(folder) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", url)
        patch.chdir(folder)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert ingest.main(["results", "experiment=study"]) == 0
            assert analysis.main(["experiment=study"]) == 0
        links = [line.strip() for line in said.getvalue().splitlines() if line.strip().startswith(url)]
        assert len(links) == 3
        assert links[0] == links[1]  # both doors name the campaign's page
        yield links[0], links[2]


def tree(folder):
    """Results whose throughput saturates, as that of servers does."""
    for model, chip, size, n in itertools.product(MODELS, results.CHIPS, SIZES, LOADS):
        speed = {"llama8b": 1.3, "mistral7b": 1.0}[model] * {"a100": 1.0, "h100": 1.8}[chip] * size**0.6
        itl = (12 + n / 12) / speed
        found = results.summary(
            results.HUB[model], n, output_throughput=1000 * n / itl, median_itl_ms=itl, p99_itl_ms=3 * itl
        )
        name = results.HUB[model].rpartition("/")[2]
        results.written(found, folder, f"results/prompt_{n}/{size}x{results.CHIPS[chip]}/{name}_tp{size}_len2000.json")
    failed = "results/prompt_320/1xA100-80GB-SXM/Mixtral-8x7B-Instruct-v0.1_tp1_len2000.json"
    results.written({"reason": "torch.OutOfMemoryError: CUDA out of memory."}, folder, failed)


@pytest.fixture(scope="module")
def page(campaign):
    runs, _ = campaign
    with browser.chromium() as window:
        # MLflow's assistant would cover a third of every page.
        shut = {"mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true", "mlflow.assistant.panelOpen_v1": "false"}
        window.remember(runs.partition("#")[0], **shut)
        yield window


@pytest.fixture
def pictures(tmp_path):
    kept = os.environ.get("VBENCH_SCREENSHOTS")
    return Path(__file__).parents[2] / kept if kept else tmp_path


def test_the_runs_table_has_our_columns_and_the_campaign_its_tables(campaign, page, pictures):
    page.open(campaign[0])
    for column in ("output_throughput", "median_itl_ms", "median_ttft_ms"):
        page.find(f"//*[@role='columnheader'][contains(., '{column}')]")
    page.find("//a[contains(., 'mistral7b · 4xh100 · tp4 · n320')]")
    page.find("//*[contains(text(), 'Throughput and latency')]/ancestor::*[.//button][1]//button[last()]").click()
    note = page.find("//table[contains(., 'hardware · parallelism')]")
    assert "4xh100 · tp4" in note.text
    itl = (12 + 320 / 12) / (1.3 * 1.8 * 4**0.6)
    assert f"★ {320_000 / itl:,.0f} / {itl:.1f}" in note.text
    page.find("//table[contains(., 'oom_load')]")
    page.picture(pictures / "runs.png")


def test_runs_are_compared_over_our_parameters_and_metrics(campaign, page, pictures):
    found = tracking.query("study", "tags.`vbench.validity` = 'VALID' and params.`workload.num_prompts` != '10'")
    assert len(found) == 2 * SYSTEMS
    base, _, route = campaign[0].partition("#")
    experiment = route.split("/")[2]
    compared = f'runs={json.dumps(list(found["run_id"]))}&experiments=["{experiment}"]&workflowType=machine_learning'
    page.open(f"{base}#/compare-runs?{compared}")
    page.find("//button[contains(., 'Clear All')]").click()
    choose(page, 0, "model.name", "hardware.name", "workload.num_prompts")
    choose(page, 1, "output_throughput", "median_itl_ms")
    for axis in ("model.name", "hardware.name", "workload.num_prompts", "output_throughput", "median_itl_ms"):
        page.find(f"//*[name()='text'][.='{axis}']")
    for value in ("4xh100", "mistral7b"):
        page.find(f"//*[name()='text'][.='{value}']")
    page.picture(pictures / "parallel-coordinates.png")

    page.find("//*[@role='tab'][contains(., 'Scatter')]").click()
    for axis, metric in (("x", "median_itl_ms"), ("y", "output_throughput")):
        page.find(f"//*[@id='{axis}-axis-selector']").click()
        page.find(f"//*[@role='option'][.='{metric}']").click()
        page.find(f"//*[name()='g'][contains(@class, '{axis}title')]/*[name()='text'][.='{metric}']")
    # Plotly draws on a canvas what it keeps as data.
    drawn = "return document.querySelector('.js-plotly-plot').data.flatMap(each => each.x).length"
    page.until(lambda: page.script(drawn) == 2 * SYSTEMS, "point a run")
    page.picture(pictures / "scatter.png")


def test_the_charts_begin_with_throughput_over_latency_of_every_run(campaign, page, pictures):
    """MLflow's own begin with the CPU's, and are of ten runs."""
    page.open(f"{campaign[0]}&compareRunsMode=CHART")
    titles = [page.find(f"//*[.='{each}_ms vs. output_throughput']") for each in ("median_itl", "median_ttft")]
    titles.append(page.find("//*[.='Parallel Coordinates']"))
    assert [each.rect["y"] for each in titles] == [titles[0].rect["y"]] * 3  # side by side
    page.find("//*[contains(., 'Throughput and latency, INVALID runs too')]")
    drawn = "return document.querySelector('.js-plotly-plot')?.data.flatMap(each => each.x).length"
    page.until(lambda: page.script(drawn) == SYSTEMS * len(LOADS), "point a run")
    page.picture(pictures / "charts.png")


def choose(page, place, *names):
    from selenium.webdriver.common.keys import Keys

    box = page.until(lambda: page.all("//input[@role='combobox']")[place : place + 1], "choice of columns")[0]
    for name in names:
        box.send_keys(name)
        page.find(f"//*[@role='option'][contains(., '{name}')] | //*[contains(@class, 'option')][.='{name}']")
        box.send_keys(Keys.ENTER)
    box.send_keys(Keys.ESCAPE)


def test_the_report_run_shows_its_figures(campaign, page, pictures):
    page.open(campaign[1])
    page.find("//*[contains(text(), 'report.html')]")
    page.find("//*[text()='curves-llama8b.png']").click()
    drawn = "return [...document.images].some(each => each.src.startsWith('blob:') && each.naturalWidth > 500)"
    page.until(lambda: page.script(drawn), "figure")
    page.picture(pictures / "figure.png")


def test_the_descriptions_first_line_opens_the_report_and_its_figure_can_be_explored(campaign, page, pictures):
    page.open(campaign[0])
    page.find("//*[contains(text(), 'Throughput and latency')]/ancestor::*[.//button][1]//button[last()]").click()
    link = page.find("//a[.='Open the report']").get_attribute("href")
    page.open(link)
    frame = page.find("//iframe")
    page.frame(frame)
    page.find("//h1[.='study']")
    page.until(lambda: page.script("return document.getElementById('explore-plot').dataset.drawn"), "figure")
    page.frame(None)
    page.picture(pictures / "report.png")
