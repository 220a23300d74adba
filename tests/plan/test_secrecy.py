"""A secret in a config is refused, by a line that names the form that passes it and never the secret."""

import pytest
from builders import run_config

from vbench.plan.rules import check_run
from vbench.plan.secrecy import check_words
from vbench.plan.sessions import plan_run
from vbench.schema.errors import Refused

HELD = [
    ({"env": {"HF_TOKEN": "s3cretvalue"}}, "engine.env.HF_TOKEN: ", "engine.env_from=[HF_TOKEN]"),
    ({"env": {"INNOCENT": "hf_s3cretValue0"}}, "engine.env.INNOCENT: ", "engine.env_from=[INNOCENT]"),
    ({"extra_args": ["--api-key", "s3cretvalue"]}, "engine.extra_args: --api-key: ", "leave it out"),
    ({"extra_args": ["--api_key=s3cretvalue"]}, "engine.extra_args: --api_key: ", "leave it out"),
    ({"extra_args": ["--hf-token", "s3cretvalue"]}, "engine.extra_args: ", "engine.env_from=["),
    ({"extra_args": ["--header", "Authorization: Bearer s3cretvalue"]}, "engine.extra_args: ", "engine.env_from=["),
    ({"extra_args": ["--header", "X-Api-Key: s3cretvalue1"]}, "engine.extra_args: ", "engine.env_from=["),
    ({"command": ["vllm", "serve", "--api-key", "s3cretvalue"]}, "engine.command: ", "leave it out"),
    ({"base_url": "http://me:s3cretvalue@host:8000"}, "engine.base_url: ", "engine.api_key_env"),
    ({"base_url": "http://me:s3cretvalue@host:port"}, "engine.base_url", ""),
    ({"base_url": "http://host:8000?token=s3cretvalue"}, "engine.base_url: ", "engine.api_key_env"),
    ({"base_url": "http://host", "api_key_env": "sk-s3cretvalue"}, "engine.api_key_env: ", ""),
    ({"env_from": ["HF_TOKEN=s3cretvalue"]}, "engine.env_from: ", "engine.env_from=["),
    (
        {"env_from": ["OMP_NUM_THREADS"]},
        "engine.env_from=[OMP_NUM_THREADS]: only secrets",
        "engine.env.OMP_NUM_THREADS",
    ),
    ({"env_from": ["HF_TOKEN"], "base_url": "http://host"}, "engine.env_from: ", "leave it out"),
]


@pytest.mark.parametrize(("engine", "key", "form"), HELD)
def test_a_config_that_holds_one_is_refused(engine, key, form):
    with pytest.raises(Refused) as refused:
        check_run(run_config(engine=engine))
    assert str(refused.value).startswith(key)
    assert form in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_secret_in_the_shell_lines_before_a_job_is_refused_and_a_file_that_holds_it_is_not():
    with pytest.raises(Refused, match=r"launcher\.setup: "):
        check_run(run_config(launcher={"setup": ["export HF_TOKEN=s3cretvalue"]}))
    with pytest.raises(Refused, match=r"launcher\.setup: .* source FILE"):
        check_run(run_config(launcher={"setup": ["curl -u me:s3cretvalue https://host/model"]}))
    check_run(run_config(launcher={"setup": ["curl -u me:$PW -H 'Authorization: Bearer $TOKEN' https://host/model"]}))
    check_run(run_config(launcher={"setup": ["source ~/.secrets", "export HF_TOKEN=$(cat ~/.hf)"]}))


@pytest.mark.parametrize(
    "word",
    ["hydra.launcher.setup=['docker login -u me -p s3cretvalue host']",
     "+engine.env.HF_TOKEN=s3cretvalue", "+engine.env={HF_TOKEN: s3cretvalue}", "engine.base_url=http://u:s3cretvalue@h",
     "engine.extra_args=[--api-key,s3cretvalue]", "engine.extra_args=[--header,'Authorization: Bearer s3cret-value']"],
)  # fmt: skip
def test_a_word_that_sets_one_is_refused_before_it_is_composed(word):
    with pytest.raises(Refused) as refused:
        check_words(["-m", "workload.num_prompts=1,2", word])
    assert "s3cret" not in str(refused.value)


def test_names_of_secrets_shape_no_result():
    plain, named = run_config(), run_config(engine={"env_from": ["HF_TOKEN"]})
    assert plan_run(check_run(named), "vllm 0.32.0").key == plan_run(check_run(plain), "vllm 0.32.0").key
