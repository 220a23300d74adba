"""A token planted in the environment, the config, a server's output or its errors is in no file and no line."""

import os
import zipfile

import pytest
from doors import fake, vbench
from fake_vllm import running

from vbench.schema.record import Record

LOAD = ("workload=random", "workload.input_len=20", "workload.output_len=4", "workload.num_prompts=2")
TOKENS = ("planted-in-the-environment-1", "planted-in-the-config-2", "planted-at-their-server-3")
ENVIRONMENT = {"SITE_TOKEN": TOKENS[0], "THEIR_KEY": TOKENS[2]}


def found_in(path):
    """The files at or below the path with one of the tokens, archives opened."""
    for file in (path, *path.rglob("*")):
        if file.is_file():
            parts = [file.read_bytes()]
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    parts += [archive.read(name) for name in archive.namelist()]
            # NumPy keeps text in four bytes a character.
            if any(token.encode(code) in part for token in TOKENS for code in ("utf-8", "utf-32-le") for part in parts):
                yield file


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def run(home, *words, module="vbench"):
    ended = vbench(*words, cwd=home, module=module, **ENVIRONMENT)
    assert not [token for token in TOKENS if token in ended.stdout + ended.stderr], ended.stdout + ended.stderr
    return ended


def test_a_planted_token_is_nowhere(home):
    planted = TOKENS[1]
    ended = run(home, *LOAD, fake("--log-env", "SITE_TOKEN"), "engine.env_from=[SITE_TOKEN]", "experiment=own")
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # a busy host may make the run INVALID
    (log,) = home.glob("multirun/own/*/server.log")
    assert "SITE_TOKEN=***" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert (log.parent / "session.json").stat().st_mode & 0o777 == 0o600
    refused = [
        f"+engine.env.SITE_TOKEN={planted}",
        f"engine.extra_args=[--api-key,{planted}]",
        f"engine.extra_args=[--header,'Authorization: Bearer {planted}']",
        f"engine.base_url=http://me:{planted}@host:1",
        f"engine.base_url=http://host:1?token={planted}",
        f"launcher.setup=['export SITE_TOKEN={planted}']",
    ]
    for word in refused:
        ended = run(home, *LOAD, word, "experiment=refused", "--cfg", "job")
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    site = home / "site" / "engine"
    site.mkdir(parents=True)
    (site / "mine.yaml").write_text(f"# @package engine\nenv: {{SITE_TOKEN: {planted}}}\n")
    ended = run(home, *LOAD, f"hydra.searchpath=[file://{site.parent}]", "+engine=mine", "experiment=refused")
    assert ended.returncode == 2
    with running("--require-key", "another-key-4") as url:  # it answers 401, and its log is not ours
        ended = run(home, *LOAD, "engine=openai", f"engine.base_url={url}", "engine.api_key_env=THEIR_KEY",
                    "engine.served_model_name=fake", "experiment=theirs")  # fmt: skip
    assert ended.returncode == 1
    # Printed by a line of the setup, by a library in the job, and in the traceback of the exception that ends it.
    setup = """launcher.setup=['echo "the setup: $SITE_TOKEN"','export FAKE_NVML_SAYS="the job: $SITE_TOKEN"']"""
    ended = run(home, *LOAD, fake(), setup, "launcher.retries=0", "experiment=printed")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "RuntimeError: the job: ***" in ended.stdout
    (log,) = home.glob("multirun/printed/*/job/*_log.out")
    lines = log.read_text().splitlines()
    told = [line for line in lines if line.endswith("***")]
    assert told == ["the setup: ***", "the job: ***", "RuntimeError: the job: ***"], lines
    assert run(home, "experiment=own", "figures=svg", module="vbench.analysis").returncode == 0
    assert run(home, "multirun", module="vbench.ingest").returncode == 0
    assert not (home / "multirun" / "refused").exists()
    (site / "mine.yaml").unlink()
    assert [str(file.relative_to(home)) for file in found_in(home)] == []


def test_a_named_variable_that_is_not_set_is_refused_here(home):
    ended = run(home, *LOAD, fake(), "engine.env_from=[OTHER_TOKEN]")
    assert ended.returncode == 2
    assert "engine.env_from: OTHER_TOKEN is not set in the environment; export it" in ended.stderr


def test_a_record_of_an_earlier_version_is_read_without_its_secrets(home, tmp_path):
    path = next(home.glob("multirun/own/*/*/record.json"))
    (tmp_path / "record.json").write_text(
        path.read_text().replace('"extra_args": []', f'"extra_args": ["--api-key", "{TOKENS[1]}"]')
    )
    assert Record.load(tmp_path).config["engine"]["extra_args"] == ["--api-key", "***"]
    assert os.environ.get("SITE_TOKEN") is None
