"""`vbench tune` as a user starts it, with the fake server in vLLM's stead."""

import json
import os
import signal

import doors
import pytest
import records

from vbench.schema.record import Record, is_aside

# The fake takes 0.4 s a token; one option takes half of that, one fails, one repeats a key of the config. It begins a
# step as a request comes, and its steps are so long that what a busy host adds to a load is small beside them.
OPTIONS = "tune={engine.extra_args: [[--itl-s,'0.2'],[--fail,oom_load],[--max-num-seqs,'1']]}"
WORDS = (
    "tune", "model=tiny", "engine.weights=dummy", "workload=random", "workload.num_prompts=4", "engine.restarts=3",
    "workload.max_concurrency=2", "workload.input_len=8", "workload.output_len=3", "slo={ttft_ms: 9000}",
    "hydra/launcher=inline", doors.fake("--itl-s", "'0.4'", "--wakes"), OPTIONS,
)  # fmt: skip
SESSIONS = 3 + 2 * 3  # a round of the defaults and two options, and three starts of each side


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A tuning whose driver was killed after two records, and the same command after it."""
    home = tmp_path_factory.mktemp("tuned")
    killed = doors.driver(*WORDS, cwd=home)
    doors.until(lambda: len(list(home.glob("multirun/*/*/*/record.json"))) >= 2 or killed.poll() is not None)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = {path: path.stat().st_mtime_ns for path in home.glob("multirun/*/*/*/record.json")}
    return home, before, doors.vbench(*WORDS, cwd=home)


def test_the_option_that_is_twice_as_fast_wins(tuned):
    home, _, ended = tuned
    assert ended.returncode == 0, ended.stdout + ended.stderr
    answer = json.loads((home / "multirun/tune/tune/tune.json").read_text())
    assert (answer["verdict"], answer["option"]) == ("winner", "engine.extra_args=[--itl-s,'0.2']")
    assert answer["ratio"]["low"] > 1.5
    assert answer["ratio"]["value"] == pytest.approx(2, abs=0.2)
    *_, winner, use, _ = ended.stdout.splitlines()
    assert winner.startswith("winner: engine.extra_args=[--itl-s,'0.2'] has ")
    assert "(3 starts of each in turn; 95 % interval)" in winner
    assert use.startswith("use it: vbench model=tiny engine.weights=dummy workload=random ")
    assert "workload.slo={ttft_ms: 9000}" in use
    assert "tune=" not in use


def test_an_option_that_fails_or_cannot_be_run_is_named_with_its_reason_and_stops_nothing(tuned):
    _, _, ended = tuned
    assert "failed engine.extra_args=[--fail,oom_load]: oom_load: torch.OutOfMemoryError" in ended.stdout
    assert "skipped engine.extra_args=[--max-num-seqs,'1']: engine.extra_args" in ended.stdout


def test_the_same_command_continues_after_a_kill_and_measures_nothing_twice(tuned):
    home, before, _ = tuned
    after = {path: path.stat().st_mtime_ns for path in home.glob("multirun/*/*/*/record.json")}
    assert before.items() <= after.items()
    standing = [Record.load(path.parent) for path in after if not is_aside(path.parent)]
    # On a busy host a client may lag again and again: that start and its pair are then replaced by a further pair.
    replaced = {record.config["engine"]["restart"] for record in standing if record.verdict == "INVALID"}
    assert len(before) < len(standing) == SESSIONS + 2 * len(replaced)


def test_once_answered_the_same_command_starts_nothing(tuned):
    home, _, ended = tuned
    again = doors.vbench(*WORDS, cwd=home)
    assert "starting 1 server" in ended.stdout
    assert "starting 1 server" not in again.stdout
    assert again.stdout.splitlines()[-3:] == ended.stdout.splitlines()[-3:]


def test_ctrl_c_twice_and_yes_ends_the_tuning_and_not_only_the_session_under_way(tmp_path):
    words = [word for word in WORDS if word != "hydra/launcher=inline"]
    with doors.driver(*words, "workload.num_prompts=1000", cwd=tmp_path) as tuning:
        doors.until(lambda: doors.events(tmp_path, "measuring"))
        os.killpg(tuning.pid, signal.SIGINT)
        doors.until(lambda: "detaching" in tuning.stdout.readline())
        os.killpg(tuning.pid, signal.SIGINT)
        said, _ = tuning.communicate("y\n", timeout=doors.TIMEOUT_S)
    assert tuning.returncode == 130, said
    assert "measuring" not in said
    assert said.splitlines()[-1] == "vbench: interrupted; results are kept; run the same command again to continue"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "tune: is missing"),
        (("tune={engine.max_num_seqs: 64}",), "tune: engine.max_num_seqs: 64: must be a list of values"),
        (("tune=engine.max_num_seqs:[64", "tune=engine.max_num_seqs:128]"), "quoted so that the shell keeps it"),
        (("tune={engine.max_num_seq: [64]}",), "did you mean engine.max_num_seqs?"),
        (("tune={engine.max_num_seqs: [64]}", "workload.seed=1,2"), "answers for one point, not for 2"),
        (("tune={engine.max_num_seqs: [64]}", "workload.slo={ttft_ms: null}"), "slo: name objectives"),
        (("tune={engine.max_num_seqs: [64]}", "objective=speed"), "must be goodput or cost"),
        (("tune={engine.max_num_seqs: [64]}", "objective=cost"), "objective=cost: cpu has no price"),
        (("tune={engine.max_num_seqs: [64]}", "engine.restarts=2"), "a confirmation takes 3 starts"),
        (("tune={engine.max_num_seqs: [64]}", "launcher.detach=true"), "what is measured next depends"),
        (("tune={engine.gpu_memory_utilization: [2]}",), "no combination can be run"),
        (("tune={hardware: [1xh100, 2xh100], parallelism: [tp]}",), "other GPUs have other costs"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_one_line(words, told, capsys, tmp_path, monkeypatch):
    from vbench.campaign.tuning import command

    monkeypatch.chdir(tmp_path)
    given = {word.partition("=")[0] for word in words}
    rest = [
        word for word in ("model=tiny", "hardware=cpu", "engine.weights=dummy") if word.partition("=")[0] not in given
    ]
    slo = [] if "workload.slo" in given else ["slo={ttft_ms: 500}"]
    assert command.main([*rest, *slo, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_budget_without_room_for_a_confirmation_starts_nothing(capsys, tmp_path, monkeypatch):
    from vbench.campaign.tuning import command

    records.empty_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = [
        "model=llama8b",
        "hardware=1xh100",
        "engine.weights=dummy",
        "workload.request_rate=4",
        "slo={ttft_ms: 500}",
    ]
    options = ["tune={engine.max_num_seqs: [8, 16, 32, 64]}", "launcher.budget_gpu_hours=0.02"]
    assert command.main([*words, *options]) == 3
    printed = capsys.readouterr().out
    assert "4 options and the defaults: 4 under 33% of the load, 2 under 100% of the load" in printed
    assert "undecided: the budget has no room for the first round and a confirmation" in printed
    assert "0.00 of 0.02 GPU hours" in printed
    assert not list(tmp_path.glob("multirun/**/session.json"))
