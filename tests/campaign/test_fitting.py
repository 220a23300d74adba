"""`vbench fit`: its words, its pages, and what it learns from records."""

import json
import re
from dataclasses import replace

import pytest
import records
from doors import vbench
from published import H200, read_published

from vbench.campaign.fitting.command import split_words
from vbench.campaign.fitting.evidence import describe_system, find_measured, read_starts
from vbench.schema import RunConfig, from_plain
from vbench.schema.errors import Refused


@pytest.fixture(scope="module")
def starts():
    return read_starts([H200 / "records.zip"])


def recorded(session, archive="records.zip"):
    record = next(each for each in read_published(H200 / archive) if each.session.startswith(session))
    return from_plain(RunConfig, record.config)


def test_one_point_in_json_has_the_longest_context_and_the_tokens(tmp_path):
    ended = vbench("fit", "model=llama70b", "hardware=1xh200", "format=json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["max_context_tokens"] == 131072
    assert told["kv_cache_tokens"] == pytest.approx(205_184, rel=0.03)
    assert told["weights_gib"] == pytest.approx(67.70, abs=0.05)
    spent = sum(term["gib"] for term in told["terms"])
    assert spent + told["available_gib"] == pytest.approx(told["usable_gib"], abs=0.01)
    assert not (tmp_path / "multirun").exists()


def test_a_grid_is_a_table_and_what_does_not_fit_has_zeros(tmp_path):
    ended = vbench("fit", "-m", "model=llama70b,mixtral8x22b", "hardware=2xh100", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    header, first, second = ended.stdout.splitlines()
    assert header.split()[:3] == ["system", "weights", "GiB"]
    assert first.startswith("llama70b · 2xh100 · tp2")
    assert "  fits  " in first
    assert second.split()[-6:] == ["0", "0", "does", "not", "fit", "estimated"]


def test_the_exit_code_is_1_if_no_point_fits(capsys):
    from vbench.campaign.fitting import command

    assert command.main(["model=mixtral8x22b", "hardware=1xh100"]) == 1
    assert "does not fit" in capsys.readouterr().out
    assert command.main(["model=mixtral8x22b", "hardware=1xh100,8xh100"]) == 0


def fit_words(capsys, *words):
    from vbench.campaign.fitting import command

    command.main(list(words))
    return capsys.readouterr().out


def test_a_point_that_does_not_fit_names_the_smallest_number_of_its_gpu_that_does(capsys):
    told = fit_words(capsys, "model=llama70b", "hardware=1xl4")
    named = re.search(r"Of 1, 2, 4 and 8 l4 the fewest that fit: hardware=(\d)xl4 \(tp(\d)\)", told)
    assert named, told
    assert named[1] == named[2]
    assert "−47" not in told
    assert "= missing" in told
    assert "Longest context" not in told
    assert ": fits" in fit_words(capsys, "model=llama70b", f"hardware={named[1]}xl4")
    assert ": fits" not in fit_words(capsys, "model=llama70b", f"hardware={int(named[1]) // 2}xl4")
    assert "larger" in fit_words(capsys, "model=llama70b", "hardware=1xl4", "format=json")


def test_more_gpus_are_not_advised_where_the_split_gains_nothing_by_them(capsys):
    split = ("parallelism.tensor_parallel_size=1", "parallelism.data_parallel_size=null")
    told = fit_words(capsys, "model=llama70b", "hardware=1xl4", *split)
    assert "No number of l4 up to 8 fits with this split" in told


def test_hardware_without_gpus_and_unknown_words_are_refused_in_one_line(tmp_path):
    ended = vbench("fit", "hardware=cpu", "model=llama8b", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (2, "vbench: hardware=cpu: a fit needs GPUs, as hardware=2xh100\n")
    with pytest.raises(Refused, match="format=yaml: must be one of text, json"):
        split_words(["format=yaml"])
    with pytest.raises(Refused, match="records=nowhere: no such folder, nor an archive"):
        split_words(["records=nowhere"])


def test_records_of_the_same_system_and_version_are_evidence(starts):
    config = recorded("llama70b-1xh200-tp1-abb5")
    measured = find_measured(config, starts, "vllm 0.26.0")
    assert measured.engine_version == "vllm 0.26.0"
    assert find_measured(config, starts, "unknown") == measured
    assert find_measured(config, starts, "vllm 0.32.0") is None
    assert find_measured(replace(config, engine=replace(config.engine, max_num_seqs=64)), starts, "") is None
    assert find_measured(replace(config, engine=replace(config.engine, max_model_len=9000)), starts, "") == measured


def test_starts_of_another_program_say_nothing_of_this_engine_s_memory(starts):
    real = recorded("llama70b-1xh200-tp1-abb5")
    fake = replace(real, engine=replace(real.engine, command=["python", "tests/fake_vllm.py"]))
    assert find_measured(fake, starts, "unknown") is None
    container = replace(real, engine=replace(real.engine, command=["apptainer", "exec", "v.sif", "vllm", "serve"]))
    assert find_measured(container, starts, "vllm 0.26.0") == find_measured(real, starts, "vllm 0.26.0")


def test_what_a_log_says_of_its_memory_replaces_the_terms_one_by_one():
    starts = read_starts([H200 / "warm"])
    measured = find_measured(recorded("mixtral8x7b", "warm/records.zip"), starts, "")
    said = {name: round(size / 2**30, 2) for name, size in measured.spent.parts.items()}
    assert said == {"weights": 87.0, "activations": 1.87, "CUDA graphs": 0.54, "CUDA context": 0.23}
    assert measured.spent.total / 2**30 == pytest.approx(87.0 + 1.87 + 0.54 + 0.23, abs=0.1)


def test_a_log_with_bytes_that_are_no_text_is_read(tmp_path):
    record = next(each for each in read_published(H200 / "records.zip") if each.server.get("kv_cache_tokens"))
    folder = records.saved(record, tmp_path)
    (folder / "server.log").write_bytes(b"\xff\n(Worker) Model loading took 15.0 GiB memory and 2.1 seconds\n")
    (start,) = read_starts([tmp_path])
    assert start.spent.parts == {"weights": 15.0 * 2**30}


def test_a_system_is_the_same_under_another_name_but_not_on_another_gpu(starts):
    config = recorded("llama70b-1xh200-tp1-abb5")
    renamed = replace(config, model=replace(config.model, name="other", hub_id="some/where"))
    assert describe_system(renamed) == describe_system(config)
    gpu = replace(config.hardware.gpu, name="h100")
    assert describe_system(replace(config, hardware=replace(config.hardware, gpu=gpu))) != describe_system(config)
