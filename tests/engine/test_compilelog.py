"""Lines as vLLM 0.26 to 0.33, Triton and FlashInfer write them."""

import time
from datetime import datetime, timezone

import pytest

from vbench.engine.compilelog import LogPosition, correct_zone, find_compilations, read_facts


def local(*moment):
    """As vLLM writes it: in the host's time, without saying so."""
    return datetime(*moment)  # noqa: DTZ001


NOW = local(2026, 11, 27, 10, 2)
MONITOR = (
    "(EngineCore pid=387) INFO 11-27 10:00:58 [jit_monitor.py:79] Kernel JIT monitor activated; monitored JIT "
    "compilations during inference will use mode=warn."
)
MOE = (
    "(EngineCore pid=387) \x1b[33mWARNING\x1b[0m 11-27 10:01:02 [jit_monitor.py:103] Triton kernel JIT compilation "
    "during inference: _topk_forward. This causes a latency spike; consider extending warmup."
)


EMPTY = "define_kernel.<locals>._empty_fn"


@pytest.mark.parametrize(
    ("line", "kernel"),
    [
        (MOE, "_topk_forward"),
        (MOE.replace("_forward.", "_forward (constexprs={B=32, a.b=1. x}; key=None)."), "_topk_forward"),
        (MOE.replace("_topk_forward", "define_kernel.<locals>._empty_fn (constexprs={M=None})"), EMPTY),
        (MOE.replace("kernel JIT", "autotune/warmup candidate JIT"), "_topk_forward"),
        ("WARNING 11-27 10:01:02 [jit_monitor.py:103] CuTeDSL JIT compilation during inference: Gemm. This", "Gemm"),
        ("TileLang JIT compilation during inference: mhc_pre (cache_key=(1, 2)). This causes", "mhc_pre"),
        ("Triton kernel JIT compilation during inference: _matmul", "_matmul"),
        ("Triton autotuning for function fused_moe,\nwith key as (1,),\nfinished after 1.20s", "fused_moe"),
        ("INFO 11-27 10:01:02 [backends.py:399] Compiling a graph for compile range (1, 8) takes 3 s", "torch.compile"),
        ("Capturing CUDA graphs (decode, FULL): 100%|##########| 35/35", "CUDA graph"),
        ("INFO 11-27 10:01:02 [gpu_model_runner.py:1] Graph capturing finished in 3 secs, took 0.5 GiB", "CUDA graph"),
        ("[Autotuner]: Autotuning process starts ...", "FlashInfer autotuning"),
    ],
)
def test_each_way_of_compiling_is_read_from_its_line(line, kernel):
    assert [each.kernel for each in find_compilations(line, NOW)] == [kernel]


def test_other_lines_are_no_compilation():
    lines = [
        MONITOR,
        "INFO 11-27 10:01:02 [loggers.py:257] Engine 000: Avg prompt throughput: 1 tokens/s",
        "INFO 11-27 10:01:02 [backends.py:296] Directly load the compiled graph(s) for compile range (1, 8) from",
    ]
    assert find_compilations("\n".join(lines), NOW) == []


def test_the_instant_is_that_of_the_line_in_the_host_s_time():
    (found,) = find_compilations(MOE, NOW)
    assert found.at_s == local(2026, 11, 27, 10, 1, 2).timestamp()
    (old,) = find_compilations(MOE.replace("11-27", "12-31"), local(2027, 1, 1))
    assert old.at_s == local(2026, 12, 31, 10, 1, 2).timestamp()
    # A clock may be a little ahead of ours; what is more than a day ahead was logged last year.
    for day, year in (("11-28 10:01:02", 2026), ("11-29 10:01:02", 2025)):
        (ahead,) = find_compilations(MOE.replace("11-27 10:01:02", day), NOW)
        assert ahead.at_s == datetime.strptime(f"{year}-{day}", "%Y-%m-%d %H:%M:%S").timestamp()  # noqa: DTZ007
    (unknown,) = find_compilations("Triton autotuning for function fused_moe,", NOW)
    assert unknown.at_s is None


def test_only_what_was_logged_since_counts_in_every_replica_s_log(tmp_path):
    logs = [tmp_path / "server.log", tmp_path / "server-1.log"]
    for log in logs:
        log.write_text(MOE + "\n")
    position = LogPosition.at_end(logs)
    assert position.find_compilations() == []
    with logs[1].open("a") as log:
        log.write(MOE.replace("_topk", "_routing") + "\n")
    assert [each.kernel for each in position.find_compilations()] == ["_routing_forward"]


def test_a_log_that_is_cut_or_gone_is_told(tmp_path):
    log = tmp_path / "server.log"
    log.write_text(MOE + "\n")
    position = LogPosition.at_end([log])
    with log.open("a") as file:
        file.write(MOE + "\n")
    assert not position.was_cut()
    log.write_text("")
    assert position.was_cut()
    log.unlink()
    assert position.was_cut()
    assert position.find_compilations() == []
    assert LogPosition.at_end([log]).was_cut()  # from then on too


@pytest.mark.parametrize("zone_s", [0, 3600, -8 * 3600, 5.75 * 3600, 14 * 3600])
def test_a_line_of_a_container_in_another_time_zone_has_its_true_instant(zone_s):
    assert correct_zone(10_000.0 + zone_s, 9_990.0, 10_100.0) == 10_000.0
    assert correct_zone(9_988.0 + zone_s, 9_990.0, 10_100.0) == 9_988.0
    assert correct_zone(10_102.0 + zone_s, 9_990.0, 10_100.0) == 10_102.0


def test_a_line_whose_instant_no_zone_or_more_than_one_explains_has_none():
    assert correct_zone(10_000.0 + 1800 + 440, 9_990.0, 10_100.0) is None  # a clock that is wrong
    assert correct_zone(10_000.0 + 3600, 9_990.0, 11_000.0) is None  # the run took longer than zones are apart
    assert correct_zone(10_000.0, 9_990.0, 11_000.0) == 10_000.0
    assert correct_zone(None, 9_990.0, 10_100.0) is None


@pytest.mark.parametrize(("at_s", "known"), [(9_988.0, True), (9_987.9, False), (10_102.0, True), (10_102.1, False)])
def test_a_logs_clock_may_be_2_s_off(at_s, known):
    assert correct_zone(at_s, 9_990.0, 10_100.0) == (at_s if known else None)


@pytest.mark.parametrize(("set_by_s", "was_set"), [(0.04, False), (0.06, True), (-0.04, False), (-0.06, True)])
def test_a_clock_that_moved_by_more_than_50_ms_was_set(set_by_s, was_set):
    assert LogPosition((), 1000.0, 100.0).was_clock_set(1010.0 + set_by_s, 110.0) is was_set


def test_the_log_of_a_server_in_another_time_zone_is_placed_within_the_run(tmp_path):
    log = tmp_path / "server.log"
    log.touch()
    position = LogPosition.at_end([log])
    ahead = datetime.fromtimestamp(position.taken_at + 3 * 3600)  # noqa: DTZ006
    log.write_text(MOE.replace("11-27 10:01:02", f"{ahead:%m-%d %H:%M:%S}"))
    (found,) = position.find_compilations()
    assert found.at_s == pytest.approx(position.taken_at, abs=1.0)


@pytest.mark.parametrize(("set_by_s", "known"), [(0, True), (0.02, True), (1, False), (-1, False), (3600, False)])
def test_where_the_hosts_clock_was_set_since_no_line_has_a_known_time(tmp_path, monkeypatch, set_by_s, known):
    """Lines from before would be placed too early or too late by as much, and their pauses in no figure."""
    log = tmp_path / "server.log"
    log.touch()
    position, clock = LogPosition.at_end([log]), time.time
    log.write_text(MOE.replace("11-27 10:01:02", f"{datetime.fromtimestamp(position.taken_at):%m-%d %H:%M:%S}"))  # noqa: DTZ006
    monkeypatch.setattr(time, "time", lambda: clock() + set_by_s)
    (found,) = position.find_compilations()
    assert found.kernel == "_topk_forward"
    assert (found.at_s is not None) is known


def test_a_run_over_the_end_of_summer_time_has_the_same_local_times_twice(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        end = datetime(2026, 10, 25, 1, tzinfo=timezone.utc).timestamp()
        position = LogPosition((), end - 3000.0, 100.0)
        assert [position.was_clock_set(end + s, 3100.0 + s) for s in (-1.0, 1.0, 3600.0)] == [False, True, True]
        assert not LogPosition((), end + 5.0, 100.0).was_clock_set(end + 3600.0, 3695.0)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_start_tells_whether_its_caches_were_warm():
    load = "Directly load the compiled graph(s) for compile range (1, 8192) from the cache, took 2.1 s"
    build = "Compiling a graph for compile range (1, 8192) takes 30.21 s"
    assert read_facts(load) == {"compile_cache": "warm"}
    assert read_facts(f"{load}\n{build}") == {"compile_cache": "cold"}
    assert read_facts(MONITOR) == {"kernel_monitor": "on"}
    config = "observability_config=ObservabilityConfig(jit_monitor_mode='warn', jit_monitor_verbose={}), seed=0\n"
    assert read_facts(config.format(False) + MONITOR) == {"kernel_monitor": "on"}
    assert read_facts(config.format(True) + MONITOR) == {"kernel_monitor": "verbose"}
    assert read_facts("non-default args: {'jit_monitor_verbose': True}\n" + MONITOR) == {"kernel_monitor": "verbose"}
    assert read_facts(config.format(True)) == {}  # not activated: --enforce-eager


def test_every_variant_of_a_kernel_counts():
    variants = "\n".join(MOE.replace("_forward.", f"_forward (constexprs={{stride_rn={n}}}).") for n in (32, 64, 96))
    assert [each.kernel for each in find_compilations(variants, NOW)] == ["_topk_forward"] * 3
