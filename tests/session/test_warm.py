"""Warm before measured: an engine that compiles is rehearsed, and a run that it compiled under is measured again."""

import os
import re
import signal
import threading
from urllib.request import urlopen

from doors import until
from test_session import executed, happened, load_processes, session

from vbench.engine.counters import parse
from vbench.host.contention import ContentionMeter
from vbench.metrics import compile_rules
from vbench.metrics.host_rules import STARVED_SHARE
from vbench.schema.record import REQUESTS, Record
from vbench.session import rehearsal
from vbench.session.rehearsal import MOST_ROUNDS

COMPILING = ("--compile-s", "0.7")


def codes(reasons):
    return {reason.code for reason in reasons} - {"few_samples"}


def measured(folder, *flags, count=30, **workload):
    """The record of a session's one run, and the records of its earlier measurements, oldest first."""
    made = session(*flags, loads=(count,), workload=workload)
    record = executed(made, folder)[count]
    return record, [Record.load(path) for path in sorted(folder.glob(f"{made.runs[0].folder}.*"))]


def kernels_logged(folder):
    return [line for line in (folder / "server.log").read_text().splitlines() if "during inference: " in line]


def test_an_engine_that_compiles_nothing_is_measured_once_and_its_rehearsal_is_the_old_warm_up(tmp_path):
    record, _ = measured(tmp_path, *COMPILING)
    assert "compiled_under_load" not in codes(record.invalid)
    assert record.metrics["compilations"] == 0
    assert (record.server["rehearsal_rounds"], record.server["rehearsal_compiled"]) == (2, 0)
    assert record.server["rehearsal_s"] > 0


def test_what_the_rehearsal_compiles_no_run_compiles(tmp_path):
    record, aside = measured(tmp_path, "--compile-s", "0.1", "--compile-shapes")
    batches = {line.split("inference: ")[1].split(".")[0] for line in kernels_logged(tmp_path)}
    assert batches >= {"_batch_1_kernel", "_batch_8_kernel", "_batch_32_kernel"}
    assert record.server["rehearsal_compiled"] == len(batches)
    assert "still_compiling" not in record.server
    assert record.metrics["compilations"] == 0
    assert not any("compiled_under_load" in codes(each.invalid) for each in aside)


def test_a_run_under_which_the_engine_compiled_is_measured_again_and_what_was_put_aside_is_kept_and_named(tmp_path):
    record, (cold, *_) = measured(tmp_path, *COMPILING, "--compile-at", "20", "--jit-monitor-verbose")
    assert "compiled_under_load" not in codes(record.invalid)
    assert "measured_again" in codes(record.warnings)
    assert record.metrics["server_prefix_cache_queries"] > 0
    assert record.metrics["server_prefix_cache_hits"] == 0  # the same prompts as before, under another cache salt
    assert codes(cold.invalid) >= {"compiled_under_load"}
    (sentence,) = (reason.sentence for reason in cold.invalid if reason.code == "compiled_under_load")
    assert "_request_20_kernel" in sentence
    assert cold.run_key == record.run_key
    assert cold.metrics["longest_compile_stall_ms"] >= 700
    assert cold.metrics["compilations"] == 1
    assert 0.1 < cold.metrics["compile_share"] <= 1
    assert "compile_share" not in record.metrics
    assert record.metrics["compilations"] == 0
    (told,) = (reason.sentence for reason in record.warnings if reason.code == "measured_again")
    (folder,) = tmp_path.glob("*.1")
    assert f"{folder.name} (compiled_under_load" in told
    assert (folder / REQUESTS).exists()
    assert [each["folder"] for each in happened(tmp_path, "recorded")] == [folder.stem]


def stop_clients(log):
    """Stops this process's load processes while the server of this log answers all that it has been asked."""
    url = re.search(r"API server on (\S+)", log.read_text())[1]
    clients = load_processes()
    until(lambda: count_running(url) == 10)
    for pid in clients:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: count_running(url) == 0)
    finally:
        for pid in clients:
            os.kill(pid, signal.SIGCONT)


def count_running(url):
    with urlopen(f"{url}/metrics") as page:
        return parse(page.read().decode())["requests_running"]


def test_a_run_whose_client_was_stopped_for_a_moment_is_measured_again(tmp_path):
    disturbances = [threading.Thread(target=stop_clients, args=(tmp_path / "server.log",))]

    def disturb_once(event):
        if event.kind == "measuring" and disturbances:
            disturbances.pop().start()

    made = session(loads=(10,), workload={"output_len": 200})  # four seconds, in which this thread sees all ten run
    record = executed(made, tmp_path, disturb_once)[10]
    first, *_ = (Record.load(path) for path in sorted(tmp_path.glob(f"{made.runs[0].folder}.*")))
    assert codes(first.invalid) & {"lagging_client", "buffered_replies"}
    assert "measured_again" in codes(record.warnings)
    assert record.started_at > first.started_at
    assert record.metrics["client_loop_lag_max_s"] < first.metrics["client_loop_lag_max_s"]
    assert first.metrics["client_loop_lag_max_s"] > 0.5


def test_a_run_says_how_long_its_server_waited_for_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("HOST_PROC", "/proc")  # this host's own times, which count in steps of 10 ms
    record, aside = measured(tmp_path, count=4, output_len=50)
    first = [*aside, record][0]
    share = first.metrics["server_starved_share"]
    assert 0 <= share <= 1
    assert ("starved_host" in codes(first.invalid)) is (share >= STARVED_SHARE)
    assert 0 < first.metrics["host_cpu_busy_share"] <= 1.05


def test_a_starved_run_names_the_process_that_used_its_servers_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("HOST_PROC", "/proc")
    monkeypatch.setattr("vbench.metrics.host_rules.STARVED_SHARE", 0.0)
    monkeypatch.setattr(ContentionMeter, "describe_others", lambda _: "pid 7 (stress) 1.9 cores")
    monkeypatch.setattr("vbench.metrics.host_rules.OTHERS", {"host_cpu_others_share": "other processes used {:.0%}"})
    record, _ = measured(tmp_path, count=4)
    (reason,) = [each for each in record.invalid if each.code == "starved_host"]
    assert "(most: pid 7 (stress) 1.9 cores)" in reason.sentence


def test_an_engine_that_compiles_under_every_measurement_leaves_an_invalid_run(tmp_path):
    record, aside = measured(tmp_path, *COMPILING, "--compile-at", "20,50,80,110,140")
    assert "compiled_under_load" in codes(record.invalid)
    assert [codes(each.invalid) >= {"compiled_under_load"} for each in aside] == [True, True]
    assert len(kernels_logged(tmp_path)) == 3


def test_a_pause_that_the_log_does_not_tell_of_is_unexplained_and_measured_again_once(tmp_path):
    flags = ("--compile-s", "1.2", "--compile-silently", "--compile-at", "20,50,80")
    record, (aside, *_) = measured(tmp_path, *flags)
    assert "stalled_unexplained" in codes(record.warnings)
    assert record.metrics["longest_unexplained_stall_ms"] >= 1200
    assert "stalled_unexplained" in codes(aside.warnings)
    assert kernels_logged(tmp_path) == []


def test_a_second_unlogged_compilation_of_an_engine_that_compiles_on_demand_is_no_measurement(tmp_path):
    every = ",".join(map(str, range(5, 1000, 25)))
    record, aside = measured(tmp_path, "--compile-s", "0.7", "--compile-at", every, "--log-first-compilation")
    assert len(kernels_logged(tmp_path)) == 1
    assert record.server["rehearsal_compiled"] == 1
    assert "compiled_under_load" in codes(record.invalid)
    assert record.metrics["compilations"] == 0
    assert [codes(each.invalid) >= {"compiled_under_load"} for each in aside] == [True, True]


def test_a_pause_of_the_prompts_own_is_said_to_be_prefill(tmp_path):
    load = {"input_len": 1700, "output_len": [5, 50], "max_concurrency": 2}
    record, _ = measured(tmp_path, "--prefill-tokens-per-s", "1200", count=5, **load)
    assert 300 < record.server["prefill_tokens_per_s"] < 1260  # a busy host only slows it down
    assert {"stalled_by_prefill", "stalled_unexplained"} & codes(record.warnings) == {"stalled_by_prefill"}


def test_a_rehearsal_of_what_never_stops_compiling_ends_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "BUDGET_S", 600.0)  # so that no slow host uses it up
    every = ",".join(map(str, range(5, 1000)))
    record, aside = measured(tmp_path, "--compile-s", "0.01", "--compile-at", every)
    assert "compiled_under_load" in codes(record.invalid)
    assert len(aside) == 2
    assert record.server["rehearsal_rounds"] == 2 + MOST_ROUNDS
    assert record.server["still_compiling"].startswith("_request_")


def test_a_load_that_ends_its_server_in_the_rehearsal_fails_alone(tmp_path):
    dies = ("--fail", "die_after:60", "--once", str(tmp_path / "died"))
    found = executed(session(*dies, "--compile-s", "0.01", "--compile-shapes", loads=(2, 30)), tmp_path)
    assert found[30].failure.kind == "server_died"
    assert found[2].failure is None
    assert len(happened(tmp_path, "starting")) == 2


def test_a_complete_log_of_compilations_that_cost_little_leaves_the_run_standing_with_a_warning(tmp_path, monkeypatch):
    """How little is a rule with tests of its own: here any cost will do, as a busy host's pauses count as costs too."""
    monkeypatch.setattr(compile_rules, "COMPILED_SHARE", 1.0)
    short = ("--compile-s", "0.002", "--compile-at", "20", "--jit-monitor-verbose")
    record, aside = measured(tmp_path, *short, output_len=20)
    first = [*aside, record][0]  # another disturbance may have it measured again
    assert first.metrics["compilations"] == 1
    assert 0 <= first.metrics["compile_share"] <= 1
    assert "compiled_under_load" not in codes(first.invalid)
    (sentence,) = (reason.sentence for reason in first.warnings if reason.code == "compiled_briefly")
    assert "_request_20_kernel" in sentence
    assert f"{first.metrics['compile_share']:.1%}" in sentence
