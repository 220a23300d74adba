"""The interactive figure of report.html: its data, and what it does in a real browser without a network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import browser
import pytest
import records
from sections import curve

from vbench.analysis import comparisons, explorer, frame, report
from vbench.analysis.answers import answer
from vbench.analysis.options import Options
from vbench.schema.record import Reason

LATE = Reason("late_client", "")
EVIL = "</script><script>document.title='evil'</script>"


def made():
    repeats = [
        records.record(gpus=2, tp=2, num_prompts=80, output_throughput=value, workload={"seed": seed})
        for seed, value in enumerate((3990.0, 4000.0, 4010.0))
    ]
    invalid = records.record(gpus=2, tp=2, num_prompts=320, output_throughput=9000.0, invalid=[LATE])
    return [*curve(), *repeats, invalid, *curve(model=EVIL)]


def collected(*found, **asked):
    runs = frame.runs(records.table(list(found)))
    chosen = Options(**asked)
    sections = comparisons.sections(runs, chosen)
    rows = next(each.runs for each in sections if each.runs is not None)
    points = explorer.collect_points(rows, chosen, lambda run: f"http://127.0.0.1:5000/#/runs/{run}")
    return runs, sections, points


def test_a_point_has_the_mean_its_interval_its_verdict_and_all_its_runs():
    *_, data = collected(*made())
    [point] = [each for each in data["points"] if each["system"].startswith("2x") and each["verdict"] == "VALID"]
    at = data["keys"].index("output_throughput")
    assert point["values"][at] == 4000
    assert point["halves"][at] == pytest.approx(24.842, abs=1e-3)  # t(2) = 4.3027, of 10 / √3
    assert len(point["runs"]) == 3
    assert set(point["runs"]) <= set(data["pages"])
    [late] = [each for each in data["points"] if each["verdict"] == "INVALID"]
    assert (late["why"], late["at"], late["values"][at]) == ("late_client", "num_prompts=320", 9000)


def test_the_axes_that_people_compare_are_offered_first_those_asked_for():
    *_, data = collected(*curve(), x="median_ttft_ms", y="output_throughput_per_gpu")
    assert data["x"][0] == "median_ttft_ms"
    assert data["y"][0] == "output_throughput_per_gpu"
    assert {"median_itl_ms", "median_tpot_ms", "median_ttft_ms", "median_e2el_ms"} <= set(data["x"])
    assert data["names"][data["keys"].index("median_ttft_ms")] == "median time to first token (ms)"


def test_points_beyond_the_limit_are_counted(monkeypatch):
    monkeypatch.setattr(explorer, "MOST_POINTS", 2)
    *_, data = collected(*curve())
    assert (len(data["points"]), data["left_out"]) == (2, 1)


def test_data_is_no_markup_and_no_nan():
    *_, data = collected(*made())
    text = explorer.encode(data)
    assert "<" not in text
    assert json.loads(text) == data


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page in a browser."""
    folder = tmp_path_factory.mktemp("explorer")
    runs, sections, data = collected(*made())
    first = answer(runs, sections, Options(experiment="grid"))
    origin = report.provenance(runs, ["python"], "sqlite:///")
    report.write(first, sections, origin, folder / "out", ["svg"], data)
    with browser.chromium() as window:
        window.open((folder / "out" / "report.html").as_uri())
        window.until(lambda: drawn(window), "figure")
        yield window, folder / "out" / "report.html"


def drawn(window):
    """`MODEL|X|Y|POINTS` of the figure as it was drawn last."""
    return window.script("return document.getElementById('explore-plot').dataset.drawn")


def choose(window, what, value, shown):
    window.script(
        "const it = document.getElementById(arguments[0]); it.value = arguments[1];"
        "it.dispatchEvent(new Event('change'))", f"explore-{what}", value,
    )  # fmt: skip
    window.until(lambda: drawn(window) == shown, shown)


def test_the_page_is_one_file_that_fetches_nothing_and_runs_no_name(page):
    window, file = page
    assert file.stat().st_size < 5_000_000
    assert window.script("return performance.getEntriesByType('resource').length") == 0
    assert window.script("return document.title") == "grid · vbench report"
    assert [each for each in window._driver.get_log("browser") if each["level"] == "SEVERE"] == []


def test_axes_are_switched_series_hidden_and_points_hovered(page):
    window, _ = page
    choose(window, "model", "llama8b", "llama8b|median_itl_ms|output_throughput|4")
    choose(window, "x", "median_ttft_ms", "llama8b|median_ttft_ms|output_throughput|4")
    choose(window, "y", "output_throughput_per_gpu", "llama8b|median_ttft_ms|output_throughput_per_gpu|4")
    window.find("//div[@id='explore-systems']/label[contains(., '1xh100')]/input").click()
    window.until(lambda: drawn(window).endswith("|1"), "one system hidden")
    window.find("//input[@id='explore-invalid']").click()
    window.until(lambda: drawn(window).endswith("|2"), "the INVALID run")
    hover(window, 80)
    text = window.find("//div[@id='explore-point']").text
    assert "llama8b · 2xh100 · tp2, num_prompts=80" in text
    assert "output throughput (tokens/s)\n4,000 ± 25" in text
    assert "VALID" in text
    assert len(window.all("//div[@id='explore-point']//a[contains(@href, '/#/runs/run')]")) == 3
    hover(window, 320)
    window.until(lambda: "INVALID: late_client" in window.find("//div[@id='explore-point']").text, "its reason")
    if folder := os.environ.get("VBENCH_SCREENSHOTS"):
        window.picture(Path(folder) / "explorer.png")


def test_choices_made_at_once_leave_one_figure(page):
    window, _ = page
    window.script(
        "const by = (name) => document.getElementById(`explore-${name}`);"
        "for (const key of ['median_ttft_ms', 'median_e2el_ms', 'median_itl_ms', 'median_tpot_ms']) {"
        "  by('x').value = key; by('x').dispatchEvent(new Event('change')) }"
    )
    window.until(lambda: "|median_tpot_ms|" in drawn(window), "the last choice")
    assert window.script("return document.querySelectorAll('.bk-Figure').length") == 1


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_fits_the_screen_and_only_wide_tables_scroll(page, width):
    window, _ = page
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    window._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        window.until(lambda: window.script("return document.documentElement.scrollWidth") <= width, "page that fits")
        tables = window.script(
            """return [...document.querySelectorAll('.wide')].map((each) => {
              const beyond = each.scrollWidth - each.clientWidth
              each.scrollLeft = beyond
              const ends = [...each.querySelectorAll('tr > :last-child')].map((it) => it.getBoundingClientRect().right)
              const cut = Math.max(...ends) - each.getBoundingClientRect().right
              each.scrollLeft = 0
              const word = Math.max(...each.innerText.split(/\\s+/).map((it) => it.length))
              return [each.querySelector('tr').children.length <= 4 && word <= 20, beyond, cut]
            })"""
        )
        assert all(cut < 1 for _, _, cut in tables), tables  # scrolled to its end, a table shows its last column whole
        assert all(beyond < 1 for small, beyond, _ in tables if small or width == 1280), tables
        assert any(small for small, _, _ in tables)
    finally:
        window._driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def hover(window, load):
    """Moves the mouse to the point of that load."""
    from selenium.webdriver import ActionChains

    window.script("document.getElementById('explore').scrollIntoView()")
    x, y = window.script(
        """const data = JSON.parse(document.getElementById('explore-data').textContent)
        const frame = [...Bokeh.index.roots].find((each) => each.model.type === 'Figure').frame
        const it = data.points.find((each) => each.system.startsWith('2x') && each.load === arguments[0])
        const [x, y] = ['x', 'y'].map((axis) =>
          frame[`${axis}_scale`].compute(it.values[data.keys.indexOf(document.getElementById(`explore-${axis}`).value)]))
        const box = document.getElementById('explore-plot').getBoundingClientRect()
        return [box.left + x, box.top + y]
        """, load,
    )  # fmt: skip
    chain = ActionChains(window._driver)
    chain.w3c_actions.pointer_action.move_to_location(round(x) + 30, round(y) + 30)
    chain.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    chain.perform()
    window.until(lambda: f"num_prompts={load}" in window.find("//div[@id='explore-point']").text, "the point hovered")
