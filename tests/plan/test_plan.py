import dataclasses

import pytest
from builders import run_config
from hypothesis import given
from hypothesis import strategies as st

from vbench.plan import sessions
from vbench.plan.naming import split_name
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan, plan_run
from vbench.schema.errors import Refused
from vbench.workload import search
from vbench.workload.prompts import lengths
from vbench.workload.seeding import generator


def planned(*configs, version="vllm 1"):
    return plan((check_run(config), version) for config in configs)


def loads(*numbers, **parts):
    return [run_config(workload={"num_prompts": n}, **parts) for n in numbers]


def test_runs_that_need_the_same_server_share_a_session_smallest_load_first():
    (session,) = planned(*loads(16, 4, 8))
    assert [run.config.workload.num_prompts for run in session.runs] == [4, 8, 16]


def test_whatever_shapes_the_server_parts_sessions():
    other = [{"engine": {"weights": "dummy", "max_model_len": 1900}}, {"hardware": {"gpus": 1}}, {}]
    assert len(planned(*(run_config(**parts) for parts in other))) == 3


def test_what_shapes_no_result_changes_no_key():
    plain = run_config(hardware={"gpus": 1})
    dressed = dataclasses.replace(
        plain,
        rerun=True,
        experiment="other",
        hardware=dataclasses.replace(
            plain.hardware,
            gpu=dataclasses.replace(plain.hardware.gpu, price_per_hour=3.0),
            slurm=dataclasses.replace(plain.hardware.slurm, partition="gpu"),
        ),
    )
    keys = {session.runs[0].key for session in (*planned(plain), *planned(dressed))}
    assert len(keys) == 1


def test_the_engines_version_is_part_of_the_key():
    assert planned(run_config())[0].runs[0].key != planned(run_config(), version="vllm 2")[0].runs[0].key


def test_a_probe_is_known_by_its_search_and_not_as_the_run_of_its_load():
    load = check_run(run_config(workload={"max_concurrency": 8}))
    parents = (None, "one search", "its repeat")
    assert len({sessions.plan_run(load, "v", parent=parent).key for parent in parents}) == 3


def test_a_search_of_another_meaning_is_another_run(monkeypatch):
    load, sought = (
        check_run(run_config(workload={"slo": {"ttft_ms": 9.0}, "search": kind})) for kind in (None, "request_rate")
    )
    before = [sessions.plan_run(each, "v").key for each in (load, sought)]
    monkeypatch.setattr(search, "RECIPE", search.RECIPE + 1)
    after = [sessions.plan_run(each, "v").key for each in (load, sought)]
    assert after[0] == before[0]
    assert after[1] != before[1]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12))
def test_a_run_asked_for_twice_stands_once_and_none_is_lost(numbers):
    (session,) = planned(*loads(*numbers))
    assert [run.config.workload.num_prompts for run in session.runs] == sorted(set(numbers))
    assert len({run.folder for run in session.runs}) == len(session.runs)


def test_repeats_are_ordinary_runs_with_fresh_seeds_interleaved_round_by_round():
    (session,) = planned(*(run_config(workload={"num_prompts": n, "seed": 5, "repeats": 3}) for n in (8, 4)))
    loads = [run.config.workload for run in session.runs]
    assert [(load.seed, load.num_prompts) for load in loads] == [(5, 4), (5, 8), (6, 4), (6, 8), (7, 4), (7, 8)]
    assert {load.repeats for load in loads} == {1}


def test_restarts_are_sessions_of_their_own_with_the_next_seeds():
    asked = {"workload": {"seed": 5, "repeats": 2}}
    (alone,) = planned(run_config(**asked))
    sessions = planned(run_config(engine={"restarts": 3}, **asked))
    assert [[run.config.workload.seed for run in each.runs] for each in sessions] == [[5, 6], [7, 8], [9, 10]]
    assert [each.engine.restart for each in sessions] == [0, 1, 2]
    assert {each.engine.restarts for each in sessions} == {1}
    assert len({each.folder for each in sessions}) == 3
    # The first server is the one that is started without restarts: its session, its runs and their keys.
    assert (sessions[0].folder, [run.key for run in sessions[0].runs]) == (
        alone.folder,
        [run.key for run in alone.runs],
    )
    # The same seed on another start is another run: what one server measured is not taken for the other.
    (seventh,) = planned(run_config(workload={"seed": 7}))
    assert seventh.runs[0].key not in {run.key for each in sessions for run in each.runs}


def test_every_server_is_started_once_before_any_is_started_again():
    lengths = (1000, 2000, 4000)
    asked = [run_config(engine={"restarts": 2, "max_model_len": n}, workload={"num_prompts": 4}) for n in lengths]
    started = [(each.engine.restart, each.engine.max_model_len) for each in planned(*asked)]
    assert started == [(restart, length) for restart in (0, 1) for length in lengths]


def test_repeats_are_the_same_runs_as_their_seeds_asked_for():
    (repeated,) = planned(*(run_config(workload={"num_prompts": n, "repeats": 3}) for n in (4, 8)))
    (seeded,) = planned(*(run_config(workload={"num_prompts": n, "seed": seed}) for n in (8, 4) for seed in (2, 0, 1)))
    assert repeated == seeded


def test_a_repeat_that_was_asked_for_by_its_seed_too_stands_once():
    (session,) = planned(run_config(workload={"seed": 1}), run_config(workload={"repeats": 2}))
    assert [run.config.workload.seed for run in session.runs] == [0, 1]


@given(st.dictionaries(st.integers(1, 9), st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=5))
def test_no_point_is_measured_again_before_all_others_had_their_turn(asked):
    (session,) = planned(
        *(run_config(workload={"num_prompts": n, "seed": seed, "repeats": k}) for n, (seed, k) in asked.items())
    )
    seen = [run.config.workload.num_prompts for run in session.runs]
    rounds = [sorted(n for n, (_, k) in asked.items() if k > index) for index in range(4)]
    assert seen == [n for one in rounds for n in one]


def test_seeds_are_told_apart_by_name_and_seed_0_keeps_its_own():
    (session,) = planned(run_config(workload={"num_prompts": 320, "repeats": 2}))
    first, second = session.runs
    assert (first.name, second.name) == ("tiny · cpu · tp1 · n320", "tiny · cpu · tp1 · n320 s1")
    assert first.folder.startswith(f"n320-{first.key[:8]}")
    assert second.folder.startswith("n320-s1-")


def test_runs_of_one_name_are_told_apart_by_what_a_grid_varies_and_keep_their_keys():
    grid = [
        run_config(engine={"weights": "dummy", "max_model_len": length}, workload={"num_prompts": n, "seed": seed})
        for length in (2000, "auto")
        for n in (10, 80)
        for seed in (0, 1)
    ]
    sessions = planned(*grid, run_config(workload={"num_prompts": 20}))
    runs = [run for session in sessions for run in session.runs]
    assert sorted(run.name for run in runs) == sorted(
        [
            f"tiny · cpu · tp1 · max_model_len={length} · {load}"
            for length in ("2000", "auto")
            for load in ("n10", "n10 s1", "n80", "n80 s1")
        ]
        + ["tiny · cpu · tp1 · n20"]
    )
    alone = {each.key: each.folder for config in grid for (session,) in [planned(config)] for each in session.runs}
    assert alone.items() <= {run.key: run.folder for run in runs}.items()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([{"engine": {"extra_args": ["--fast"]}}, {}], {'extra_args=["--fast"]', "extra_args=[]"}),
        ([{"engine": {"env": {"A": "1"}}}, {}], {"A=1", None}),
        ([{"workload": {"lengths": "random"}}, {}], {"lengths=random", "lengths=sharegpt"}),
        ([{"experiment": "one"}, {"experiment": "two"}], {"experiment=one", "experiment=two"}),
        ([{"model": {"num_hidden_layers": 2}}, {}], {"num_hidden_layers=2", "num_hidden_layers=4"}),
    ],
)
def test_whatever_differs_is_said_as_it_is_typed(parts, words):
    names = [run.name for session in planned(*(run_config(**part) for part in parts)) for run in session.runs]
    assert set(names) == {f"tiny · cpu · tp1 · {f'{word} · ' if word else ''}n10" for word in words}


def test_every_repeats_prompts_must_fit_the_context():
    load = {"lengths": "random", "num_prompts": 1, "input_len": [1, 1800], "output_len": 1}
    longest = [int(lengths(run_config(workload=load | {"seed": seed}).workload).sum()) for seed in range(8)]
    assert longest[0] < max(longest)
    limit = {"weights": "dummy", "max_model_len": max(longest) - 1}
    check_run(run_config(engine=limit, workload=load))
    with pytest.raises(Refused, match=f"take {max(longest)} tokens"):
        check_run(run_config(engine=limit, workload=load | {"repeats": 8}))


@pytest.mark.parametrize(
    ("gpus", "split", "name"),
    [
        (2, {"tensor_parallel_size": None}, "tp2"),
        (4, {"data_parallel_size": None}, "dp4"),
        (4, {"tensor_parallel_size": 2, "data_parallel_size": None}, "tp2dp2"),
        (1, {"tensor_parallel_size": None}, "tp1"),
        (0, {"tensor_parallel_size": None}, "tp1"),
    ],
)
def test_the_open_size_takes_the_gpus_that_are_left(gpus, split, name):
    run = check_run(run_config(hardware={"gpus": gpus}, parallelism=split))
    assert split_name(run.parallelism) == name


@pytest.mark.parametrize(
    ("gpus", "split"),
    [
        (1, {}),
        (2, {"data_parallel_size": None}),
        (2, {"pipeline_parallel_size": None}),
        (1, {"tensor_parallel_size": None}),
    ],
)
def test_experts_are_spread_only_where_devices_share_a_layer(gpus, split):
    spread = {"hardware": {"gpus": gpus}, "parallelism": split | {"enable_expert_parallel": True}}
    with pytest.raises(Refused, match=r"^parallelism\.enable_expert_parallel=true: .* leave one .*set it to false$"):
        check_run(run_config(model={"num_experts": 8}, **spread))
    twice = {"hardware": {"gpus": 2 * gpus}, "parallelism": split | spread["parallelism"] | {"tensor_parallel_size": 2}}
    assert split_name(check_run(run_config(model={"num_experts": 8}, **twice)).parallelism).endswith("ep")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"parallelism": {"tensor_parallel_size": 3}}, "uses 3 devices, but hardware=cpu has 1"),
        ({"hardware": {"gpus": 2}}, "all sizes 1 uses 1 devices, but hardware=2xh100 has 2"),
        (
            {"hardware": {"gpus": 3}, "parallelism": {"tensor_parallel_size": None}},
            "tensor_parallel_size=3: must divide the 8 attention heads",
        ),
        (
            {"hardware": {"gpus": 4}, "parallelism": {"tensor_parallel_size": None, "data_parallel_size": None}},
            "only one size may be null",
        ),
        ({"parallelism": {"enable_expert_parallel": True}}, "model=tiny has no experts"),
        ({"engine": {"weights": "hub"}}, "model=tiny has no weights on a hub"),
        (
            {"engine": {"weights": "dummy", "extra_args": ["--api-server-count", "4"]}},
            r"vllm\S+api_server ignores --api-server-count; add engine=vllm_serve",
        ),
        ({"engine": {"weights": "dummy", "max_model_len": 5000}}, "model=tiny has 4096 positions"),
        ({"engine": {"weights": "dummy", "max_model_len": "atuo"}}, "engine.max_model_len=atuo: must be a number"),
        ({"engine": {"weights": "dummy", "max_model_len": 100}}, "but engine.max_model_len=100"),
        ({"workload": {"num_prompts": 0}}, "workload.num_prompts=0: must be 1 or more"),
        ({"workload": {"lengths": "none"}}, "workload.num_prompts=10: workload=none sends none"),
        ({"workload": {"lengths": "none", "num_prompts": 0, "repeats": 2}}, "workload=none has nothing to repeat"),
        (
            {"workload": {"lengths": "none", "num_prompts": 0, "search": "request_rate"}},
            "workload=none has no load to vary",
        ),
        ({"workload": {"repeats": 0}}, "workload.repeats=0: must be 1 or more"),
        ({"workload": {"request_rate": 0}}, "workload.request_rate=0.0: must be above 0, or inf"),
        ({"workload": {"max_concurrency": 0}}, "workload.max_concurrency=0"),
        (
            {"workload": {"lengths": "random", "input_len": [9, 3]}},
            r"workload.input_len=\[9, 3\]: must be a number of tokens",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_name(parts, message):
    with pytest.raises(Refused, match=message):
        check_run(run_config(**parts))


@pytest.mark.parametrize(
    ("search", "given", "said"),
    [
        ("request_rate", {"max_concurrency": 4}, "max_concurrency=4: workload.search=request_rate must be the only"),
        ("max_concurrency", {"request_rate": 5.0}, "request_rate=5.0: workload.search=max_concurrency must be the"),
        (
            "max_concurrency",
            {"ramp_up_strategy": "linear", "ramp_up_start_rps": 1.0, "ramp_up_end_rps": 2.0},
            "ramp_up_strategy=linear: workload.search=max_concurrency must be the only limit",
        ),
        ("max_concurrency", {"lengths": "conversations", "sessions": 4}, "use workload.search=sessions"),
        ("request_rate", {"lengths": "agents", "sessions": 4}, "use workload.search=sessions"),
        ("sessions", {"lengths": "conversations", "max_concurrency": 4}, "search=sessions must be the only limit"),
        ("sessions", {"lengths": "conversations", "session_rate": 4.0}, "search=sessions must be the only limit"),
        ("sessions", {"lengths": "conversations", "sessions": 4}, "workload.search varies this value"),
        ("max_concurrency", {"lengths": "trace", "path": "x.csv"}, "a trace brings its own times"),
    ],
)
def test_a_search_whose_levels_something_else_would_bound_is_refused(search, given, said):
    """The requests would wait in the client, where no latency sees them: 4 places met any SLO at 1,024 a second."""
    with pytest.raises(Refused, match=said):
        check_run(run_config(workload={"num_prompts": 20, "slo": {"ttft_ms": 500.0}, "search": search, **given}))


def test_runs_by_count_have_the_keys_and_prompts_that_they_had_before_runs_by_time():
    timed = run_config(workload={"duration_s": 60.0})
    assert plan_run(timed, "x").key != plan_run(run_config(), "x").key
    drawn = [generator(each.workload, "prompts").integers(1 << 60) for each in (run_config(), timed)]
    assert drawn[0] == 851056407636094744 != drawn[1]


def test_the_name_of_a_run_by_time_says_so():
    assert plan_run(run_config(workload={"duration_s": 60.0, "warmup_s": 2.5}), "x").name.endswith("n10 60s w2.5")
